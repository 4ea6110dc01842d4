"""What goes wrong, in two kinds and one value.

    ArgosyError
    ├── PeerError      the other side broke the contract or is away; the caller may try again
    ├── CallerError    a bug of ours; never caught
    └── UserError      what a person asked for cannot be done; carries what to do instead
        └── NotNow     it is right, and cannot be done as things are

`Refused` is a value, not an exception: a decision that says no.
"""

import msgspec


class ArgosyError(Exception):
    """The root of everything Argosy raises on purpose."""


class PeerError(ArgosyError):
    """The other side of a connection broke its contract, or is not there. May be retried."""


class CallerError(ArgosyError):
    """Our own code asked for something that the contract forbids. Never caught."""


class UserError(ArgosyError):
    """A person's input cannot be honoured. The message names the thing, the reason and the fix."""


class NotNow(UserError):  # noqa: N818 (named for the state)
    """What a person asked for is right, and cannot be done as things are: nothing runs, or it is ending."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that says no: `by` names the rule, `why` is a sentence for a person."""

    by: str
    why: str
