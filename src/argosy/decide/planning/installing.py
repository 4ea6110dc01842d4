"""What installing and removing decide: which definitions of kinds to bring, what to wait for, what is left over.

Rules of this file:

- A definition that somebody else has installed stays as it is, newer or older, as long as it serves the versions that
  Argosy reads and writes; the person is told.
- A definition that we have installed is brought to our version, never to an older one.
- Removed is what carries the installer's label and is written by the installer, and nothing else.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from argosy.api.extensions import CustomResourceDefinition
from argosy.api.kubernetes import Deployment, Pod
from argosy.api.llmservice import RoleStatus
from argosy.api.names import INSTANCE, MANAGED_BY
from argosy.api.objects import Object
from argosy.api.records import Record
from argosy.decide.planning.installation import INSTALLER
from argosy.decide.planning.picker_references import OWNER as REFERENCE_OWNER
from argosy.decide.planning.pod_sentences import MAX_NAMED, sentence
from argosy.decide.planning.pods import OWNER
from argosy.decide.planning.proxies import OWNER as PROXY_OWNER

MAKERS: Final[Mapping[str, frozenset[str]]] = {
    INSTALLER: frozenset({INSTALLER}),
    OWNER: frozenset({"argosy-operator"}),
    PROXY_OWNER: frozenset({PROXY_OWNER}),
    REFERENCE_OWNER: frozenset({REFERENCE_OWNER, "argosy-operator"}),
}
"""Who writes what is ours, by its label `app.kubernetes.io/managed-by`."""
OLDEST_KUBERNETES: Final = (1, 30)
_BUNDLE_VERSION: Final = "/bundle-version"
_NUMBERS: Final = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Bring a definition, keep the one that is there, or refuse to install over it; `why` is for a person."""

    verb: Literal["bring", "keep", "refuse"]
    definition: CustomResourceDefinition
    why: str


def verdict(ours: CustomResourceDefinition, theirs: CustomResourceDefinition | None, *, installed: bool) -> Verdict:
    """Decide about one definition; `theirs` is the one that is there, `installed` whether the installer writes it."""
    name, version = ours.metadata.name, _bundle(ours)
    if theirs is None:
        return Verdict(verb="bring", definition=ours, why=f"{name} {version} is not there")
    missing = ours.served_versions - theirs.served_versions
    there = _bundle(theirs)
    if installed and _numbers(there) <= _numbers(version):
        return Verdict(verb="bring", definition=ours, why=f"{name} {version} replaces {there}, which we installed")
    if missing:
        why = f"{name} {there} does not serve {', '.join(sorted(missing))}; install {version} or newer of it first"
        return Verdict(verb="refuse", definition=ours, why=why)
    compared = "older than" if _numbers(there) < _numbers(version) else "as new as, or newer than,"
    why = f"{name} {there} is there already and stays as it is; it is {compared} the {version} that Argosy brings"
    return Verdict(verb="keep", definition=ours, why=why)


def _bundle(definition: CustomResourceDefinition) -> str:
    """Give the release that a definition comes from, in its project's own numbering."""
    found = (value for name, value in definition.metadata.annotations.items() if name.endswith(_BUNDLE_VERSION))
    return next(found, "of an unknown release")


def _numbers(version: str) -> tuple[int, ...]:
    """Give a release's numbers; one that has none is older than all others."""
    found = _NUMBERS.match(version)
    return tuple(int(part) for part in found.groups()) if found else ()


def is_installed(record: Record) -> bool:
    """Say whether an object is the installer's: it carries the label, and the installer writes it."""
    return record.labels.get(MANAGED_BY) == INSTALLER and is_ours(record)


def is_ours(record: Record) -> bool:
    """Say whether an object is the installer's, or was made by one of the processes that it has installed.

    A pod is written by what runs it, not by whoever made its Deployment: its label has to do.
    """
    makers = MAKERS.get(record.labels.get(MANAGED_BY, ""), frozenset())
    return bool(makers & record.managers) or (bool(makers) and record.kind is Pod)


def named(records: Sequence[Record]) -> str:
    """Name objects in a row."""
    more = f" and {len(records) - MAX_NAMED} more" if len(records) > MAX_NAMED else ""
    return ", ".join(str(record) for record in records[:MAX_NAMED]) + more


def left_over(wanted: Collection[Object], found: Iterable[Record]) -> list[Record]:
    """Give what an earlier version has installed and this one does not want, in the order in which it is found."""
    names = {(type(obj), obj.key) for obj in wanted}
    return [record for record in found if is_installed(record) and (record.kind, record.key) not in names]


def unavailable(deployments: Iterable[Deployment], pods: Iterable[Pod]) -> dict[str, str]:
    """Say of each Deployment that is not wholly rolled out and available why not, by its name."""
    pods = tuple(pods)
    waiting = {}
    for deployment in deployments:
        name, wanted = deployment.metadata.name, deployment.spec.replicas
        status = deployment.status
        seen = (status.observed_generation or 0) >= (deployment.metadata.generation or 0)
        if not (seen and status.updated_replicas == status.replicas == status.available_replicas == wanted):
            mine = [pod for pod in pods if pod.metadata.labels.get(INSTANCE) == name]
            waiting[name] = sentence(
                [RoleStatus(name="serve", replicas=wanted, ready_replicas=status.available_replicas)], mine
            )
    return waiting
