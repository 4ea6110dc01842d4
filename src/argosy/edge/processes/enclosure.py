"""Where the processes of a container live: on a laptop in no place of their own, on a test cluster in namespaces.

Rules of this file:

- An enclosure is told by argv alone: what stands before a program's own words puts it where it belongs and becomes it,
  so one supervision serves both.
"""

from typing import Protocol


class Enclosure(Protocol):
    """Gives the words by which a program is started in a container."""

    def main(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """Give the words for the container's own process."""

    def guest(self, argv: tuple[str, ...], pid: int) -> tuple[str, ...]:
        """Give the words for one more process beside the running one, whose id is `pid`."""


class Open:
    """No enclosure: every process is one of the machine."""

    def main(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """Give the words as they are."""
        return argv

    def guest(self, argv: tuple[str, ...], pid: int) -> tuple[str, ...]:  # noqa: ARG002 (the port's)
        """Give the words as they are."""
        return argv


OPEN = Open()
