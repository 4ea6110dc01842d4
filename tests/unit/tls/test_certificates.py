"""Certificates as they are made and read, held to the TLS of the standard library."""

import ssl
from pathlib import Path

import pytest

from argosy.edge.tls.certificates import KeyPair, bundle, issue, make_authority, read_authority, read_certificate

NAME = "argosy-picker.argosy-system.svc"
NOW = 1_800_000_000.0
DAY_S = 86_400.0


def handshake(folder: Path, pair: KeyPair, trusted: bytes, *, name: str = NAME) -> None:
    """Shake hands in memory, at the time that the machine has. Raises what the client does."""
    (folder / "crt").write_bytes(pair.certificate)
    (folder / "key").write_bytes(pair.key)
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    serving.load_cert_chain(folder / "crt", folder / "key")
    asking.load_verify_locations(cadata=trusted.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"


@pytest.fixture
def now_s() -> float:
    import time  # noqa: PLC0415 - the handshake is at the machine's time

    return time.time()


def test_a_certificate_holds_for_its_name_and_its_authority(tmp_path: Path, now_s: float) -> None:
    authority, other = (make_authority(now_s=now_s, life_s=DAY_S) for _ in range(2))
    pair = issue(authority, (NAME,), now_s=now_s, life_s=DAY_S)
    handshake(tmp_path, pair, authority.certificate)
    handshake(tmp_path, pair, bundle(other.certificate, authority.certificate, now_s=now_s))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, pair, other.certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, pair, authority.certificate, name="argosy-picker.team-a.svc")


def test_it_is_read_as_it_was_made() -> None:
    authority = make_authority(now_s=NOW, life_s=2 * DAY_S)
    pair = issue(authority, (NAME, "other"), now_s=NOW, life_s=DAY_S)
    read = read_certificate(pair, authority=authority.certificate)
    assert read is not None
    assert read.names == (NAME, "other")
    assert read.begins_s < NOW < read.ends_s == NOW + DAY_S
    found = read_authority(authority)
    assert found is not None
    assert (found.names, found.ends_s) == ((), NOW + 2 * DAY_S)


def test_what_is_broken_or_does_not_fit_is_not_read() -> None:
    authority, other = (make_authority(now_s=NOW, life_s=DAY_S) for _ in range(2))
    pair = issue(authority, (NAME,), now_s=NOW, life_s=DAY_S)
    assert read_certificate(pair, authority=other.certificate) is None
    assert read_certificate(KeyPair(pair.certificate, other.key), authority=authority.certificate) is None
    assert read_certificate(KeyPair(b"", b""), authority=authority.certificate) is None
    assert read_certificate(KeyPair(b"rubbish", pair.key), authority=authority.certificate) is None
    assert read_authority(KeyPair(authority.certificate, other.key)) is None
    assert read_authority(KeyPair(authority.certificate, b"-----BEGIN PRIVATE KEY-----\n")) is None


def test_a_bundle_begins_with_the_new_and_forgets_what_has_ended_or_cannot_be_read() -> None:
    old, ended = make_authority(now_s=NOW, life_s=9 * DAY_S), make_authority(now_s=NOW, life_s=DAY_S)
    new = make_authority(now_s=NOW + 2 * DAY_S, life_s=DAY_S)
    both = bundle(new.certificate, old.certificate + ended.certificate, now_s=NOW + 2 * DAY_S)
    assert both == new.certificate + old.certificate
    assert bundle(new.certificate, both, now_s=NOW + 2 * DAY_S) == both
    assert bundle(new.certificate, b"rubbish", now_s=NOW) == new.certificate
