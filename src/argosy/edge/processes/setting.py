"""What a container is run with, and in what a laptop and a node of a cluster differ."""

from collections.abc import Callable

import aiohttp
import msgspec

from argosy.api.containers import Container
from argosy.edge.processes.enclosure import OPEN, Enclosure
from argosy.edge.processes.ends import ALWAYS, End
from argosy.edge.processes.logfile import LogFile
from argosy.edge.processes.probes import AskGRPC
from argosy.edge.processes.process import Command


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a container cannot run: the state's reason, the reason after some seconds, and a sentence."""

    reason: str = "CannotRun"
    later: str = ""
    why: str


class Conventions(msgspec.Struct, frozen=True, kw_only=True):
    """In what a laptop and a node of a cluster differ; the defaults are the laptop's."""

    ready_while_stopping: bool = False
    """Whether readiness is still probed for a container that is being stopped; if not, it is unready at once."""
    end_message: Callable[[Container, End], str] = lambda _container, end: end.sentence
    """What a status says of an end."""
    ask_grpc: AskGRPC | None = None


class ContainerSetting(msgspec.Struct, frozen=True, kw_only=True):
    """What a container needs of its surroundings. `now` gives the time as RFC 3339."""

    command: Command | Refusal
    address: str
    grace_s: float
    log: LogFile
    session: aiohttp.ClientSession
    now: Callable[[], str]
    restart_policy: str = ALWAYS
    restarts: int = 0
    """Restarts before, by a supervisor that has ended."""
    enclosure: Enclosure = OPEN
    conventions: Conventions = Conventions()
