"""Keeps the Secret with the pickers' certificate: made when it is not there, made anew in time.

Rules of this file:

- Pickers are given `tls.crt` and `tls.key`, gateways `ca.crt`; `ca.key` is for the next certificate, and stays here.
- One write holds all that was made, so no reader sees a part of it. No key is ever logged.
"""

import base64
import binascii
from typing import Final

from argosy.api.kubernetes import Secret
from argosy.api.names import COMPONENT, MANAGED_BY, PART_OF, PICKER_SERVICE, SYSTEM_NAMESPACE
from argosy.api.objects import Key, ObjectMeta
from argosy.apps.operator.services import OWNER
from argosy.decide.planning.access import PICKER_TLS
from argosy.decide.planning.picker_certificate import AUTHORITY_S, CERTIFICATE_S, due
from argosy.decide.translation.pickers import service_dns_name
from argosy.edge.kube.port import ObjectStore
from argosy.edge.tls.certificates import KeyPair, bundle, issue, make_authority, read_authority, read_certificate

SECRET: Final = Key(SYSTEM_NAMESPACE, PICKER_TLS)
NAMES: Final = (service_dns_name(Key(SYSTEM_NAMESPACE, PICKER_SERVICE)),)
CHECK_S: Final = 60.0
"""How often it is looked at. It may be read by name alone, so it is not watched."""


async def keep_picker_certificate(store: ObjectStore, *, now_s: float) -> str:
    """Make the Secret good at this time; say why something was made, in a sentence, or nothing when nothing was.

    Raises what the store's `get` and `retake` raise.
    """
    found = await store.get(Secret, SECRET)
    held = {name: _decoded(value) for name, value in found.data.items()} if found is not None else {}
    authority = KeyPair(held.get("ca.crt", b""), held.get("ca.key", b""))
    certificate = KeyPair(held.get("tls.crt", b""), held.get("tls.key", b""))
    needed = due(
        read_authority(authority),
        read_certificate(certificate, authority=authority.certificate),
        names=NAMES,
        now_s=now_s,
    )
    if needed is None:
        return ""
    if needed.make == "authority":
        made = make_authority(now_s=now_s, life_s=AUTHORITY_S)
        authority = KeyPair(bundle(made.certificate, authority.certificate, now_s=now_s), made.key)
    certificate = issue(authority, NAMES, now_s=now_s, life_s=CERTIFICATE_S)
    done = await store.retake(_secret(authority, certificate), owner=OWNER)
    left = "".join(f"; {each.holder} keeps {each.field}, which is left as it is" for each in done.held)
    return needed.why + left


def _secret(authority: KeyPair, certificate: KeyPair) -> Secret:
    contents = {
        "ca.crt": authority.certificate,
        "ca.key": authority.key,
        "tls.crt": certificate.certificate,
        "tls.key": certificate.key,
    }
    labels = {MANAGED_BY: OWNER, PART_OF: "argosy", COMPONENT: "picker"}
    return Secret(
        metadata=ObjectMeta(name=SECRET.name, namespace=SECRET.namespace, labels=labels),
        type="kubernetes.io/tls",
        data={name: base64.b64encode(content).decode() for name, content in contents.items()},
    )


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""
