"""What the streams of one server may make it hold, and how long they may take.

Rules of this file:

- Whoever keeps bytes of a peer counts them in, and counts them out when they are gone: messages whose end has not come,
  bodies that are gathered, replies that wait to be taken.
- A session keeps no more when the limit would be passed, and says so to the client. Transports refuse only above a
  little more: what they would refuse is a message that no session has seen yet, so only the stream's end can tell.
"""

from typing import Final

import msgspec

from argosy.api.names import MAX_BODY_BYTES


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer may cost a server.

    `held_bytes` is for all its connections together. `unfinished_s` is how long a stream may go without a decision, a
    message without its end, a reply without being taken; `look_s` how often it is looked for such streams.
    """

    held_bytes: int = 12 * MAX_BODY_BYTES
    unfinished_s: float = 300.0
    look_s: float = 5.0


DEFAULT: Final = Bounds()


class Holding:
    """Counts the bytes that a server holds for its peers."""

    __slots__ = ("_limit_bytes", "held_bytes")

    def __init__(self, limit_bytes: int = DEFAULT.held_bytes) -> None:
        self.held_bytes = 0
        self._limit_bytes = limit_bytes

    @property
    def is_over(self) -> bool:
        """Whether a transport has to end what adds to it: an eighth above the limit."""
        return self.held_bytes * 8 > self._limit_bytes * 9

    def has_room(self, more_bytes: int) -> bool:
        """Say whether so many bytes more stay within the limit."""
        return self.held_bytes + more_bytes <= self._limit_bytes

    def change(self, by_bytes: int) -> None:
        """Count so many bytes more, or less."""
        self.held_bytes += by_bytes
