"""Keeps the Services through which pools of other namespaces name the shared pickers."""

from typing import Final

from argosy.api.discovery import EndpointSlice
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.names import PICKER_SERVICE, SYSTEM_NAMESPACE
from argosy.api.objects import Key, Object
from argosy.decide.planning.picker_references import picker_reference_changes
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.port import ObjectStore

PICKERS: Final = Key(SYSTEM_NAMESPACE, PICKER_SERVICE)


class References:
    """Reconciles all references together."""

    def __init__(self, store: ObjectStore, cache: Cache, *, owner: str) -> None:
        self._store = store
        self._cache = cache
        self._owner = owner

    async def reconcile(self) -> None:
        """Make every reference lead to the pickers that are ready. Raises `PeerError`."""
        pods = (pod for pod in self._cache.all(Pod) if pod.key.namespace == SYSTEM_NAMESPACE)
        observed: list[Object] = [*self._cache.all(Service), *self._cache.all(EndpointSlice)]
        pools = self._cache.all(InferencePool)
        for change in picker_reference_changes(pools, pods, observed, pickers=PICKERS):
            obj = change.object
            if change.delete:
                await self._store.delete(type(obj), obj.key, uid=obj.metadata.uid)
            else:
                await self._store.retake(obj, owner=self._owner)
