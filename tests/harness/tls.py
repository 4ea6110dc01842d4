"""The pickers' certificates in files, as the kubelet puts those of their Secret there."""

from pathlib import Path

from argosy.edge.tls.certificates import KeyPair, issue, make_authority

PICKER_NAME = "argosy-picker.argosy-system.svc"
DAY_S = 86_400.0


def authority(now_s: float) -> KeyPair:
    """Make an authority."""
    return make_authority(now_s=now_s, life_s=DAY_S)


def put(folder: Path, **contents: bytes) -> None:
    """Replace files in a folder, each at once; `tls_crt` is tls.crt."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        unfinished = folder / f".{name}"
        unfinished.write_bytes(content)
        unfinished.rename(folder / name.replace("_", "."))


def put_certificate(folder: Path, signer: KeyPair, now_s: float, name: str = PICKER_NAME) -> KeyPair:
    """Issue a certificate and put it where a picker reads it."""
    pair = issue(signer, (name,), now_s=now_s, life_s=DAY_S)
    put(folder, tls_crt=pair.certificate, tls_key=pair.key)
    return pair
