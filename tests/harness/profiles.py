"""Scheduling profiles by name, made of the plugins that are installed."""

from argosy.api.scheduling import DEFAULT, ProfileSpec
from argosy.decide.scheduling.profiles import Profile, built, named
from argosy.edge.plugins import installed_plugins

PLUGINS = installed_plugins()


def profile(which: str | ProfileSpec = DEFAULT) -> Profile:
    """Give a profile, ready to decide."""
    return built(named(which), PLUGINS)


DEFAULT_PROFILE = profile()
