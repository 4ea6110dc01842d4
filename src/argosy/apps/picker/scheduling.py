"""The scheduling profile of a picker: from its file, which may change, and the plugins that are installed."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from argosy.api.scheduling import DEFAULT, Plugins, read_scheduling
from argosy.base.errors import UserError
from argosy.decide.scheduling.profiles import Profile, built, named
from argosy.edge.changing import ChangingFiles
from argosy.edge.plugins import installed_plugins

log = logging.getLogger(__name__)
LOOK_AGAIN_S: Final = 1.0
MAX_BYTES: Final = 256 * 1024


def default_profile() -> Profile:
    """Give the profile of a picker that was told nothing else."""
    return built(named(DEFAULT), installed_plugins())


def check_scheduling(path: Path) -> None:
    """See that a file can be used. Raises `UserError` with file, field, reason and fix."""
    if not path.is_file():
        there = "is no file" if path.exists() else "is not there"
        raise UserError(f"{path}: {there}; docs/scheduling.md has one to begin with")
    try:
        _read(path, installed_plugins())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable for this user") from error
    except (ValueError, UserError) as error:
        raise UserError(f"{path}: {error}") from error


def _read(path: Path, plugins: Plugins) -> Profile:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes; make it shorter")
    return built(named(read_scheduling(content.decode()).profile), plugins)


def profile_file(path: Path) -> ChangingFiles[Profile]:
    """Give the profile of a file: the default one while there is no file, or none yet that can be used."""
    plugins = installed_plugins()

    def read() -> Profile:
        try:
            return _read(path, plugins)
        except FileNotFoundError:
            # Of a link only what it leads to is gone: somebody has moved or deleted a file that they had named.
            if path.is_symlink():
                raise
            return built(named(DEFAULT), plugins)

    fix = "the default profile is in force until it can; docs/scheduling.md shows what it may say"
    return ChangingFiles((path,), read, fix=fix, otherwise=built(named(DEFAULT), plugins))


async def follow(files: ChangingFiles[Profile], use: Callable[[Profile], None]) -> None:
    """Use each new profile of a file, for ever; a bad file leaves the one before in force."""
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        if files.changed():
            log.warning("scheduling profile %s is in force now", files.content.spec.name)
            use(files.content)
