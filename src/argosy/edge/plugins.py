"""Finds what is installed under an entry point group: our own and whoever's."""

from importlib.metadata import entry_points
from typing import Any

from argosy.api.scheduling import Plugins
from argosy.base.errors import UserError


def installed_plugins() -> Plugins:
    """Give the scheduling plugins that are installed. Raises `UserError` when one cannot be loaded."""
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
        except Exception as error:  # somebody's module may do anything when it is imported
            raise UserError(f"the plugin `{each.name}` of {group} ({each.value}) cannot be loaded: {error}") from error
    return found
