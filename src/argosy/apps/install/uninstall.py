"""Takes the installation off a cluster: what it has made, and what its processes have made, and nothing else.

Rules of this file:

- Each step begins from what is there, so a run that was broken off is finished by the next.
- Who makes things goes before what was made: an operator or gateway controller that still ran would make it again.
- Something is ours when it carries a label of ours and one of us writes it. Namespaces of others are searched as well:
  Envoys stand beside their Gateways, and Services that lead to the pickers beside the pools that name them.
- Kinds go last. Published ones stay unless they are asked for, and even then while anybody has an object of them.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from argosy.api.discovery import EndpointSlice
from argosy.api.extensions import CustomResourceDefinition
from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kinds import INSTALLED_KINDS, KINDS
from argosy.api.kubernetes import Deployment, Namespace, Pod, Service
from argosy.api.llmservice import LLMService
from argosy.api.names import GATEWAY_CLASS, MANAGED_BY, SYSTEM_NAMESPACE
from argosy.api.objects import Object
from argosy.api.records import Record
from argosy.apps.install.checks import our_definition
from argosy.apps.install.waiting import Report, patiently, until_nothing_is_missing
from argosy.base.errors import NotNow
from argosy.decide.planning.installing import is_installed, is_ours, named
from argosy.decide.translation.statuses import Published, withdrawn
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.inventory import inventory
from argosy.edge.kube.port import NotFound

_APART: Final[tuple[type[Object], ...]] = (Pod, LLMService, Namespace, CustomResourceDefinition)
_EVERY: Final[tuple[type[Object], ...]] = (EndpointSlice, *KINDS[::-1], *INSTALLED_KINDS[::-1])
_SWEPT: Final = tuple(kind for kind in _EVERY if kind not in _APART)
_PUBLISHED: Final = (HTTPRoute, Gateway, GatewayClass, InferencePool)
_LIVING: Final = (Deployment, Pod, Service)
"""What keeps a namespace when it is somebody else's."""


class Removal:
    """One run at a cluster; each of its waits may take `timeout_s`, `now` gives the time as RFC 3339."""

    def __init__(self, store: KubernetesStore, report: Report, *, timeout_s: float, now: Callable[[], str]) -> None:
        self._store = store
        self._report = report
        self._timeout_s = timeout_s
        self._now = now

    async def run(self, *, with_services: bool, with_definitions: bool) -> None:
        """Remove everything. Raises `NotNow` when services, or a wait that is too long, stand in the way."""
        await self._remove_services(allowed=with_services)
        await self._remove(await self._found([Gateway], is_installed))
        await self._remove(await self._found([Deployment], is_installed))
        await self._until_gone(lambda: self._found([Pod], is_installed))
        await self._withdraw_statuses()
        await self._remove(await self._found(_SWEPT, is_ours))
        await self._until_gone(lambda: self._found([Pod], is_ours))
        await self._remove_namespace()
        await self._remove(await self._of_name(CustomResourceDefinition, our_definition().metadata.name))
        if with_definitions:
            await self._remove_published()
        await self._tell_what_is_left()

    async def _remove_services(self, *, allowed: bool) -> None:
        services = await self._inventory([LLMService])
        if services and not allowed:
            raise NotNow(
                f"{named(services)} would lose what serves it; delete services first, or say --with-services, which "
                "deletes them and all that was made for them"
            )
        await self._remove(services)

    async def _remove_namespace(self) -> None:
        ours = await self._found([Namespace], is_installed)
        strangers = await self._inventory(_LIVING, namespace=SYSTEM_NAMESPACE) if ours else []
        if strangers:
            self._report(f"kept Namespace {SYSTEM_NAMESPACE}: {named(strangers)} in it is not Argosy's")
            return
        await self._remove(ours)

    async def _remove_published(self) -> None:
        for kind in _PUBLISHED:
            name = f"{kind.PLURAL}.{kind.API_VERSION.partition('/')[0]}"
            definition = [each for each in await self._of_name(CustomResourceDefinition, name) if is_installed(each)]
            used = await self._inventory([kind])
            if definition and used:
                self._report(f"kept {named(definition)}: there is {named(used)}")
            else:
                await self._remove(definition)

    async def _tell_what_is_left(self) -> None:
        left = [record for record in await self._inventory([Gateway]) if await self._of_our_class(record) is not None]
        if left:
            self._report(f"left {named(left)}, which nobody serves any more")

    async def _withdraw_statuses(self) -> None:
        """Leave nothing that says that others' objects are served."""
        for record in await self._inventory([Gateway]):
            await self._withdraw(await self._of_our_class(record))
        for record in await self._inventory([HTTPRoute]):
            await self._withdraw(await patiently(partial(self._store.get, HTTPRoute, record.key)))
        for record in await self._inventory([InferencePool]):
            await self._withdraw(await patiently(partial(self._store.get, InferencePool, record.key)))

    async def _withdraw(self, obj: Published | None) -> None:
        if obj is not None:
            with contextlib.suppress(NotFound):  # deleted meanwhile
                await self._store.write_status(withdrawn(obj, self._now()))

    async def _of_our_class(self, record: Record) -> Gateway | None:
        gateway = await patiently(partial(self._store.get, Gateway, record.key))
        return gateway if gateway is not None and gateway.spec.gateway_class_name == GATEWAY_CLASS else None

    async def _remove(self, records: Sequence[Record]) -> None:
        """Delete, in this order, and wait until all are gone."""
        for record in records:
            await patiently(partial(self._store.delete, record.kind, record.key, uid=record.uid))
        wanted = {record.uid for record in records}
        kinds = list(dict.fromkeys(record.kind for record in records))

        async def still_there() -> list[Record]:
            return [record for record in await self._inventory(kinds) if record.uid in wanted]

        await self._until_gone(still_there)
        for record in records:
            self._report(f"removed {record}")

    async def _until_gone(self, still_there: Callable[[], Awaitable[Sequence[Record]]]) -> None:
        async def missing() -> Mapping[str, str]:
            return {str(record): record.why_still_there for record in await still_there()}

        await until_nothing_is_missing(missing, self._report, then="is gone", timeout_s=self._timeout_s)

    async def _found(self, kinds: Iterable[type[Object]], chosen: Callable[[Record], bool]) -> list[Record]:
        found = await self._inventory(kinds, selector=MANAGED_BY)
        return [record for record in found if chosen(record)]

    async def _of_name(self, kind: type[Object], name: str) -> list[Record]:
        return [record for record in await self._inventory([kind]) if record.key.name == name]

    async def _inventory(
        self, kinds: Iterable[type[Object]], *, selector: str = "", namespace: str | None = None
    ) -> list[Record]:
        chosen = tuple(kinds)
        return await patiently(
            lambda: inventory(self._store.connection, chosen, selector=selector, namespace=namespace)
        )
