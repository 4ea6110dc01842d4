"""Finds what is installed under an entry point group: our own and whoever's."""

from importlib.metadata import entry_points
from typing import Any

import msgspec

from argosy.api.scheduling import Plugins
from argosy.base.errors import UserError


def installed_plugins() -> Plugins:
    """Give the scheduling plugins that are installed. One that cannot be loaded fails whoever makes it, nobody else."""
    return Plugins(
        filters=_installed("argosy.filters"),
        scorers=_installed("argosy.scorers"),
        pickers=_installed("argosy.pickers"),
    )


def _installed(group: str) -> dict[str, type[Any]]:
    """Give the classes of a group by name."""
    found: dict[str, type[Any]] = {}
    for each in entry_points(group=group):
        try:
            found[each.name] = each.load()
        except Exception as error:  # noqa: BLE001 - somebody's module may do anything when it is imported
            found[each.name] = _absent(f"{each.value} cannot be loaded: {error!r}")
    return found


def _absent(why: str) -> type[Any]:
    class Absent(msgspec.Struct, frozen=True):
        def __post_init__(self) -> None:
            raise UserError(why)

    return Absent
