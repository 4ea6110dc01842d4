"""Certificate files that change while they are in use, as the kubelet changes those of a Secret.

Rules of this file:

- What has changed is taken only when it is whole: a key that fits its certificate, an authority that can be read.
- Nothing of a key is ever in a message.
"""

import ssl
from pathlib import Path
from typing import Final

from argosy.edge.changing import ChangingFiles

_FIX: Final = "put PEM files there"


def server_files(folder: Path) -> ChangingFiles[tuple[bytes, bytes]]:
    """Give `tls.crt` and `tls.key` of a folder. Raises `UserError` when they are no pair."""
    certificate, key = folder / "tls.crt", folder / "tls.key"

    def read() -> tuple[bytes, bytes]:
        return _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)

    return ChangingFiles((certificate, key), read, fix=_FIX)


def server_contexts(folder: Path) -> ChangingFiles[ssl.SSLContext]:
    """Give the TLS side of a gRPC server, by `tls.crt` and `tls.key` of a folder. Raises `UserError`: no pair."""
    certificate, key = folder / "tls.crt", folder / "tls.key"

    def read() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        _load(context, certificate, key)
        return context

    return ChangingFiles((certificate, key), read, fix=_FIX)


def authority_file(path: Path) -> ChangingFiles[str]:
    """Give a bundle of authorities. Raises `UserError` when it is none."""

    def read() -> str:
        bundle = path.read_text("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=bundle)
        return bundle

    return ChangingFiles((path,), read, fix=_FIX)


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Load a pair and give its bytes. Raises `OSError` or `ValueError` when it is none, or not whole yet."""
    pair = certificate.read_bytes(), key.read_bytes()
    context.load_cert_chain(certificate, key)
    if pair != (certificate.read_bytes(), key.read_bytes()):
        raise ValueError("they are being written")
    return pair
