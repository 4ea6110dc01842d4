"""Shows how far services are: lines that are written anew in a terminal, a line for each change elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argosy.api.objects import Key
    from argosy.decide.planning.progress import Progress

Show = Callable[[Mapping["Key", "Progress"]], None]
_MARKS = {"waiting": "…", "serving": "✓", "failing": "!", "gone": "✗"}


@contextlib.contextmanager
def display() -> Iterator[Show]:
    """Give what fits the terminal, or the lack of one."""
    if not sys.stdout.isatty():
        yield _Lines(time.monotonic()).show
        return
    from rich.live import Live  # noqa: PLC0415 (only a terminal needs it)

    begun = time.monotonic()
    with Live(auto_refresh=False, transient=False) as live:
        yield lambda progress: live.update(_table(progress, time.monotonic() - begun), refresh=True)


class _Lines:
    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._said: dict[Key, Progress] = {}

    def show(self, progress: "Mapping[Key, Progress]") -> None:
        for key, each in progress.items():
            if self._said.get(key) != each:
                self._said[key] = each
                print(f"{key}: {each.state}: {each.sentence} ({time.monotonic() - self._begun:.1f} s)", flush=True)


def _table(progress: "Mapping[Key, Progress]", seconds: float) -> Any:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 1))
    for key, each in progress.items():
        table.add_row(_MARKS[each.state], Text(str(key)), Text(each.sentence))
    table.add_row("", Text(f"{seconds:.0f} s"), "")
    return table
