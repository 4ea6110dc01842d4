"""Certificate files that change while they are in use."""

from pathlib import Path

import pytest

from argosy.base.errors import UserError
from argosy.edge.tls.files import authority_file, server_files
from harness.tls import authority, put, put_certificate

NOW = 1_800_000_000.0


def test_a_pair_is_read_again_when_it_has_changed_and_only_then(tmp_path: Path) -> None:
    signer = authority(NOW)
    first = put_certificate(tmp_path, signer, NOW)
    files = server_files(tmp_path)
    assert files.content == tuple(first)
    assert not files.changed()
    second = put_certificate(tmp_path, signer, NOW)
    assert files.changed()
    assert files.content == tuple(second)
    put(tmp_path, tls_crt=second.certificate)
    assert not files.changed(), "another file of the same content is no change"


def test_a_key_that_does_not_fit_yet_leaves_the_pair_in_force(tmp_path: Path) -> None:
    signer = authority(NOW)
    first = put_certificate(tmp_path, signer, NOW)
    files = server_files(tmp_path)
    second = put_certificate(tmp_path / "elsewhere", signer, NOW)
    put(tmp_path, tls_crt=second.certificate)
    assert not files.changed()
    assert files.content == tuple(first)
    put(tmp_path, tls_key=second.key)
    assert files.changed()
    assert files.content == tuple(second)


def test_files_that_vanish_leave_what_was_in_force(tmp_path: Path) -> None:
    put_certificate(tmp_path, authority(NOW), NOW)
    files = server_files(tmp_path)
    (tmp_path / "tls.crt").unlink()
    assert not files.changed()
    assert files.content[0]


def test_an_authority_is_read_again(tmp_path: Path) -> None:
    first, second = authority(NOW), authority(NOW)
    put(tmp_path, ca_crt=first.certificate)
    files = authority_file(tmp_path / "ca.crt")
    put(tmp_path, ca_crt=first.certificate + second.certificate)
    assert files.changed()
    assert files.content == (first.certificate + second.certificate).decode()
    put(tmp_path, ca_crt=b"rubbish")
    assert not files.changed()


def test_what_cannot_be_used_from_the_beginning_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tls\.crt"):
        server_files(tmp_path)
    put(tmp_path, ca_crt=b"rubbish")
    with pytest.raises(UserError, match=r"ca\.crt"):
        authority_file(tmp_path / "ca.crt")
