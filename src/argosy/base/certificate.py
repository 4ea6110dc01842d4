"""What is known of a certificate: whom it names and when it holds."""

import msgspec


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that can be read, with a key that fits. `names` are DNS names; times are seconds since 1970."""

    names: tuple[str, ...]
    begins_s: float
    ends_s: float
