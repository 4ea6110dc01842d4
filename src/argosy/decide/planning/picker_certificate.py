"""Whether the pickers' certificate is still good, and what has to be made anew.

Rules of this file:

- An authority of the installation's own signs it. Its key lies in the Secret, and is given to no pod.
- Both are made anew long before their end: gateways and pickers read the Secret's files late, by minutes.
- A new authority does not make the old one distrusted (its maker keeps both); it signs a new certificate at once.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from argosy.base.certificate import Certificate

DAY_S: Final = 86_400.0
CERTIFICATE_S: Final = 90 * DAY_S
AUTHORITY_S: Final = 10 * 365 * DAY_S
LEFT_S: Final = {"certificate": 30 * DAY_S, "authority": 365 * DAY_S}
"""How long before its end each is made anew; an authority outlives what it signs."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be made, and why. A new authority comes with a new certificate."""

    make: Literal["certificate", "authority"]
    why: str


def due(
    authority: Certificate | None, certificate: Certificate | None, *, names: Sequence[str], now_s: float
) -> Due | None:
    """Say what has to be made at a time, or None while all is good.

    `authority` and `certificate` are what was read: None where it is absent, cannot be read, has a key that does not
    fit, or, for the certificate, is signed by another authority. `names` are those that it must hold.
    """
    if authority is None:
        return Due(make="authority", why="there is no authority that can sign")
    if authority.ends_s - now_s < LEFT_S["authority"]:
        return Due(make="authority", why=f"the authority ends in {_days(authority.ends_s - now_s)}")
    why = _wrong_with(certificate, names, now_s)
    return Due(make="certificate", why=why) if why else None


def _wrong_with(certificate: Certificate | None, names: Sequence[str], now_s: float) -> str:
    if certificate is None:
        return "there is no certificate of this authority with its key"
    missing = [name for name in names if name not in certificate.names]
    if missing:
        return f"the certificate does not name {missing[0]}"
    if certificate.begins_s > now_s:
        return "the certificate holds only from later on"
    left_s = certificate.ends_s - now_s
    return f"the certificate ends in {_days(left_s)}" if left_s < LEFT_S["certificate"] else ""


def _days(left_s: float) -> str:
    return f"{left_s / DAY_S:.1f} days"
