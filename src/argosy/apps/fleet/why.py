"""Asks the pickers of a fleet, or a file that one has written, why a request went where it went."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import msgspec

from argosy.api.kubernetes import Pod
from argosy.api.names import DECISIONS_PATH, METRICS_PORT, SYSTEM_NAMESPACE
from argosy.apps.fleet.fleet import Fleet
from argosy.apps.fleet.observe import running
from argosy.base.errors import NotNow, PeerError
from argosy.decide.scheduling.explanation import Explanation, explanation
from argosy.decide.scheduling.profiles import built
from argosy.decide.scheduling.recorded import recorded
from argosy.edge.http.pages import NoPage
from argosy.edge.plugins import installed_plugins
from argosy.edge.telemetry.line_file import lines_of


async def why(fleet: Fleet, request: str) -> Explanation:
    """Explain the request of an id. Raises `NotNow` where no picker remembers it, or none answers."""
    pods = running((await fleet.store.list(Pod, namespace=SYSTEM_NAMESPACE)).items, "picker")
    if not pods:
        raise NotNow("no picker runs, so nobody remembers anything; argosy status")
    silent: list[str] = []

    async def ask(pod: Pod) -> Explanation | None:
        try:
            page = await fleet.pages.page(pod, METRICS_PORT, f"{DECISIONS_PATH}/{quote(request, safe='')}")
            return msgspec.json.decode(page, type=Explanation)
        except NoPage:
            return None
        except (PeerError, msgspec.DecodeError) as error:
            silent.append(f"{pod.metadata.name}: {error}")
            return None

    found = [each for each in await asyncio.gather(*map(ask, pods)) if each is not None]
    if not found:
        unasked = f"; not all could be asked: {'; '.join(silent)}" if silent else ""
        raise NotNow(
            f"no picker remembers request {request}: it is too long ago, the picker has been restarted since, or it "
            f"went without one{unasked}"
        )
    return max(found, key=lambda each: each.at_s)


def why_in_file(path: Path, request: str) -> Explanation:
    """Explain a request by the decisions in a file, and in those before it.

    Raises `NotNow` where it is not there, and
    `UserError` where a plugin that decided is not installed here.
    """
    found = recorded(lines_of(path), request)
    if found is None:
        raise NotNow(
            f"{path} has no decision about request {request}: it was not among those that are sampled, it is under "
            "way, or it is too long ago"
        )
    record, endpoints = found
    profile = None if record.profile is None else built(record.profile, installed_plugins())
    return explanation(record, endpoints, profile)
