"""What a scheduling plugin is given, and what it gives.

Rules of this file:

- A plugin sees whole columns: one value for each candidate, in the candidates' order. It declares the columns it needs
  as its `inputs`; these are recorded with every decision, so that the decision can be made once more from its record.
- A plugin is a value: the same asked and columns give the same answer. Its parameters are the fields of its Struct.
- Plugins do not know each other.
- A plugin may be anybody's: one that raises, or gives what cannot be used, does not decide.

Plugins are found by entry points: `argosy.filters`, `argosy.scorers`, `argosy.pickers`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import LOAD_COLUMNS

MAX_WHY: Final = 200
"""Characters that are kept of why a plugin failed."""
Column = Sequence[float]
Columns = Mapping[str, Column]


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request, as scheduling sees it.

    `size` is its prompt's length in blocks, `dice` a number drawn for it, from 0 to 1, and `busy` the share of
    candidates that had prompts to compute, lately, from 0 to 1.
    """

    size: float = 0.0
    dice: float = 0.0
    busy: float = 0.0


class Plugin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a plugin may be made from: its fields are its parameters, in a file by their names in camelCase."""


class Filter(Protocol):
    """Narrows the candidates by preference; where it would keep none, all stay."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that it needs."""

    def keeps(self, asked: Asked, columns: Columns) -> Sequence[bool]:
        """Say of each candidate whether it stays."""


class Scorer(Protocol):
    """Judges the candidates."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that it needs."""

    def costs(self, asked: Asked, columns: Columns) -> Column:
        """Give the cost of sending the request to each candidate; the least is best."""


class Picker(Protocol):
    """Orders the candidates."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that it needs."""

    def order(self, asked: Asked, costs: Column, columns: Columns) -> Sequence[int]:
        """Give the indices of all candidates, the pick first, then its fallbacks."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A plugin that failed in a decision: `kind` is filter, scorer or picker, `plugin` its name in the profile.

    `why` is one line of ASCII, cut to `MAX_WHY`: what it holds is somebody's.
    """

    kind: str
    plugin: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {self.plugin} failed: {self.why}"


class PluginFailed(Exception):  # noqa: N818 (named for what it says)
    """A plugin raised, or gave what cannot be used. Never leaves `schedule`, unless the built-in default failed."""

    def __init__(self, kind: str, plugin: str, why: str) -> None:
        super().__init__(why)
        self.failure = Failure(kind=kind, plugin=plugin, why=ascii(why)[1:-1][:MAX_WHY])


class Candidates(msgspec.Struct, frozen=True, gc=False):
    """Endpoints that are judged, and what is believed of them, in columns."""

    endpoints: tuple[Endpoint, ...] = ()
    columns: Columns = {}

    def __len__(self) -> int:
        return len(self.endpoints)


REQUEST_COLUMNS: Final = ("matched", "pressure", "session", "adapter")
"""Columns about endpoints and the request at hand.

`matched`, blocks of its prompt that an endpoint holds; `pressure`, one by the age in s of what would leave its cache
for the rest, 0 where there is room; `session`, 1 where the request's session was before; `adapter`, 1 where the
request's model is a loaded adapter.
"""
COLUMNS: Final = frozenset((*LOAD_COLUMNS, *REQUEST_COLUMNS))
"""The columns there are."""
OF_PROMPTS: Final = frozenset(("backlog", "under_way", "matched", "pressure"))
"""Columns that are 0 where nobody reads prompts."""
