"""What the operator sees: its mirror of the cluster, and which services a change concerns.

Rules of this file:

- A service's objects have its name, so their key is its key, or a name made of it and a role's; its pods carry its
  label.
- Pods are indexed by service and model names by service as changes are noted, never by searching: a cluster has
  thousands of each.
"""

import enum
from collections.abc import Iterable
from typing import Final, TypeAlias

from argosy.api.discovery import EndpointSlice
from argosy.api.gateway import Gateway, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Deployment, Pod, Service, ServiceAccount
from argosy.api.llmservice import LLMService, StoredService
from argosy.api.names import PICKER_SERVICE, SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import Key, Object
from argosy.api.policy import NetworkPolicy, PodDisruptionBudget
from argosy.api.shape import Fault
from argosy.api.stored import service_of
from argosy.api.workers import services_of, workload_names
from argosy.decide.planning.claims import Claims
from argosy.decide.planning.installation import GATEWAY_NAME
from argosy.decide.planning.status import gateway_url
from argosy.edge.kube.cache import Cache

OWNED: Final = (
    ServiceAccount, NetworkPolicy, Service, Deployment, PodDisruptionBudget, InferencePool, HTTPRoute,
)  # fmt: skip
"""Kinds of objects that a service owns."""
WORKLOADS: Final = (Deployment, PodDisruptionBudget)
"""Those of which there is one for each role."""
KINDS: Final = (StoredService, *OWNED, Pod, Gateway, EndpointSlice)


class Chore(enum.Enum):
    """Work that is about no single service."""

    PICKER_REFERENCES = "picker references"
    PICKER_CERTIFICATE = "picker certificate"


Task: TypeAlias = Key | Chore
"""What a pass is about: a service, or a chore."""


class Mirror:
    """All services and what is there of them."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._claims = Claims()
        self._pods: dict[Key, set[Key]] = {}
        self._service_of_pod: dict[Key, Key] = {}
        self._url: str | None = None

    def note(self, changed: Iterable[tuple[type[Object], Key]]) -> frozenset[Task]:
        """Take in what has changed; give the work that it makes."""
        due: set[Task] = set()
        for kind, key in changed:
            if kind is StoredService:
                due |= {key, *self._note_service(key)}
            elif kind is Pod:
                due |= self._note_pod(key)
            elif kind is Gateway:
                due |= self._note_gateway(key)
            elif kind in WORKLOADS:
                due |= {Key(key.namespace, service) for service in services_of(key.name)}
            elif kind is not EndpointSlice:
                due.add(key)
            if kind is InferencePool or (kind in (Service, EndpointSlice) and key.name.startswith(PICKER_SERVICE)):
                due.add(Chore.PICKER_REFERENCES)
        return frozenset(due)

    def everything(self) -> frozenset[Task]:
        """Take in the whole mirror; give all the work there could be."""
        self.note((Pod, key) for key in {pod.key for pod in self._cache.all(Pod)} | self._service_of_pod.keys())
        self.note([(Gateway, Key(SYSTEM_NAMESPACE, GATEWAY_NAME))])
        keys = {stored.key for stored in self._cache.all(StoredService)} | self._claims.keys
        return self.note((StoredService, key) for key in keys) | frozenset(Chore)

    def stored(self, key: Key) -> StoredService | None:
        """Give a service as it is stored, unless it is gone or going."""
        stored = self._cache.get(StoredService, key)
        return None if stored is None or stored.metadata.deletion_timestamp is not None else stored

    def owned(self, key: Key) -> tuple[Object, ...]:
        """Give the objects of a service's names, of the kinds that services own."""
        found = (self._cache.get(kind, each) for kind in OWNED for each in names_of(kind, key))
        return tuple(obj for obj in found if obj is not None)

    def pods(self, key: Key) -> tuple[Pod, ...]:
        """Give the pods of a service."""
        found = (self._cache.get(Pod, pod) for pod in sorted(self._pods.get(key, ())))
        return tuple(pod for pod in found if pod is not None)

    def taken_names(self, key: Key) -> dict[str, Key]:
        """Give the model names of a service that belong to an older one."""
        return dict(self._claims.taken(key))

    @property
    def url(self) -> str | None:
        """Where clients reach the models, once the Gateway has an address."""
        return self._url

    def _note_service(self, key: Key) -> frozenset[Key]:
        service = read_service(self.stored(key))
        return self._claims.note(service) if isinstance(service, LLMService) else self._claims.forget(key)

    def _note_pod(self, key: Key) -> set[Task]:
        if key.namespace == SYSTEM_NAMESPACE:
            return {Chore.PICKER_REFERENCES}
        pod = self._cache.get(Pod, key)
        name = pod.metadata.labels.get(SERVICE_LABEL) if pod is not None else None
        after = Key(key.namespace, name) if name else None
        before = self._service_of_pod.pop(key, None)
        if before is not None:
            self._pods[before].discard(key)
            if not self._pods[before]:
                del self._pods[before]
        if after is not None:
            self._service_of_pod[key] = after
            self._pods.setdefault(after, set()).add(key)
        return {service for service in (before, after) if service is not None}

    def _note_gateway(self, key: Key) -> set[Task]:
        if key != Key(SYSTEM_NAMESPACE, GATEWAY_NAME):
            return set()
        url = gateway_url(self._cache.get(Gateway, key))
        if url == self._url:
            return set()
        self._url = url
        return {stored.key for stored in self._cache.all(StoredService)}


def names_of(kind: type[Object], service: Key) -> tuple[Key, ...]:
    """Give the names that objects of a service may have."""
    if kind not in WORKLOADS:
        return (service,)
    return tuple(Key(service.namespace, name) for name in workload_names(service.name))


def read_service(stored: StoredService | None) -> LLMService | tuple[Fault, ...] | None:
    """Give the service that is stored, or what is wrong with it."""
    return None if stored is None else service_of(stored)
