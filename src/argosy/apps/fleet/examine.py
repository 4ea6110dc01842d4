"""Gathers all that says why a service serves or does not, asks it for a token where nothing is wrong, and judges.

Rules of this file:

- A name is a service's (`NAME`, `NAMESPACE/NAME`), a model's, or that of an HTTPRoute or its model, for pools of pods
  that somebody else made.
- What this user may not read is said, and makes nothing wrong.
"""

import asyncio
import difflib
from collections.abc import Awaitable, Iterable
from contextlib import aclosing
from typing import NamedTuple, TypeVar

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import GROUP as INFERENCE_GROUP
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Deployment, Pod
from argosy.api.llmservice import StoredService
from argosy.api.names import COMPONENT, MODEL_HEADER, SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import K, Key
from argosy.api.workers import workload_names
from argosy.apps.fleet.fleet import Fleet
from argosy.apps.fleet.model_api import open_model_api
from argosy.base.errors import NotNow, PeerError
from argosy.decide.planning.installation import GATEWAY_NAME
from argosy.decide.planning.pod_troubles import Told
from argosy.decide.planning.way_troubles import Way
from argosy.decide.planning.why_not import Answer, Evidence, Verdict, nothing_named, why_not
from argosy.edge.http.model_api import ApiAnswer, ModelApi
from argosy.edge.kube.port import Withheld

INSTALLATIONS_GATEWAY = Key(SYSTEM_NAMESPACE, GATEWAY_NAME)
ASKED_S = 60.0
"""So long may one token take."""
LOOKED_INTO = 5
"""Pods that are not ready whose Events and logs are read: more of them mostly say the same."""
LAST_LINES = 5

T = TypeVar("T")


class _Subject(NamedTuple):
    """What a name means: a service, or a route of somebody else's; and the model that a client would ask for."""

    name: str
    service: StoredService | None
    route: HTTPRoute | None
    model: str | None


async def examine(fleet: Fleet, name: str, *, ask: bool = True) -> Verdict:
    """Say why a service, a model or a route's pool does not serve, or that it does. Raises `StoreUnavailable`."""
    look = _Look(fleet)
    services = await look.services()
    routes = await look.list(HTTPRoute, fleet.namespace)
    elsewhere = Key.parse(name).namespace
    if fleet.namespace is not None and elsewhere not in ("", fleet.namespace):
        routes += await look.list(HTTPRoute, elsewhere)
    subject = _subject(name, services, routes, fleet.namespace)
    if subject is None:
        known = [str(each.key) for each in services] + [each.model_name for each in services]
        close = difflib.get_close_matches(name, [*known, *(each.metadata.name for each in services)])
        return nothing_named(name, (str(each.key) for each in services), close)
    evidence = await look.evidence(subject, services)
    verdict = why_not(evidence)
    if ask and verdict.serves and subject.model is not None:
        verdict = why_not(msgspec.structs.replace(evidence, answer=await _asked(fleet, subject.model)))
    return verdict


def _subject(
    name: str, services: Iterable[StoredService], routes: Iterable[HTTPRoute], namespace: str | None
) -> _Subject | None:
    parsed = Key.parse(name)
    inside = parsed.namespace or namespace
    services, routes = tuple(services), tuple(routes)
    for service in (
        *(each for each in services if each.key.name == parsed.name and inside in (None, each.key.namespace)),
        *(each for each in services if each.model_name == name),
    ):
        return _Subject(service.metadata.name, service, None, service.model_name)
    for route in routes:
        model = _model_of(route)
        if model == name or (route.key.name == parsed.name and inside in (None, route.key.namespace)):
            return _Subject(name, None, route, model)
    return None


def _model_of(route: HTTPRoute) -> str | None:
    headers = (header for rule in route.spec.rules for match in rule.matches for header in match.headers)
    return next((header.value for header in headers if header.name.lower() == MODEL_HEADER), None)


class _Look:
    """Reads from a fleet, and remembers what it may not read."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._unseen: list[str] = []

    async def services(self) -> tuple[StoredService, ...]:
        """Give the services of all namespaces, or of the fleet's where the others may not be read."""
        try:
            return (await self._fleet.store.list(StoredService)).items
        except Withheld:
            return (await self._fleet.store.list(StoredService, namespace=self._fleet.namespace)).items

    async def list(self, kind: type[K], namespace: str | None) -> tuple[K, ...]:
        listing = await self._allowed(self._fleet.store.list(kind, namespace=namespace))
        return listing.items if listing else ()

    async def evidence(self, subject: _Subject, services: Iterable[StoredService]) -> Evidence:
        service, route = subject.service, subject.route
        if service is not None:
            route = await self._get(HTTPRoute, service.key)
        pool = await self._pool(service.key if service else None, route)
        pods = await self._pods(service, pool)
        return Evidence(
            name=subject.name,
            service=service,
            rivals=tuple(each for each in services if service and each.model_name == service.model_name),
            deployments=await self._deployments(service.key) if service else (),
            pods=pods,
            told=await self._told(pods),
            way=await self._way(route, pool),
            unseen=tuple(dict.fromkeys(self._unseen)),
        )

    async def _way(self, route: HTTPRoute | None, pool: InferencePool | None) -> Way:
        parent = route.spec.parent_refs[0] if route and route.spec.parent_refs else None
        key = INSTALLATIONS_GATEWAY
        if route is not None and parent is not None:
            key = Key(parent.namespace or route.key.namespace, parent.name)
        gateway = await self._get(Gateway, key)
        name = gateway.spec.gateway_class_name if gateway else None
        return Way(
            gateway=gateway,
            gateway_class=await self._get(GatewayClass, Key("", name)) if name else None,
            system=await self._system(key),
            route=route,
            pool=pool,
            on_cluster=self._fleet.connection is not None,
        )

    async def _system(self, gateway: Key) -> tuple[Pod, ...] | None:
        """Give the installation's pods, with the Envoys of one Gateway alone."""
        found: list[Pod] = []
        for namespace in sorted({SYSTEM_NAMESPACE, gateway.namespace}):
            listing = await self._allowed(self._fleet.store.list(Pod, namespace=namespace))
            if listing is None:
                return None
            found += [
                pod
                for pod in listing.items
                if (namespace == SYSTEM_NAMESPACE or pod.metadata.labels.get(COMPONENT) == "envoy")
                and (pod.metadata.labels.get(COMPONENT) != "envoy" or namespace == gateway.namespace)
            ]
        return tuple(found)

    async def _pool(self, own: Key | None, route: HTTPRoute | None) -> InferencePool | None:
        if own is not None:
            return await self._get(InferencePool, own)
        refs = (ref for rule in route.spec.rules for ref in rule.backend_refs) if route else ()
        ref = next((ref for ref in refs if (ref.group, ref.kind) == (INFERENCE_GROUP, InferencePool.KIND)), None)
        if ref is None or route is None:
            return None
        return await self._get(InferencePool, Key(ref.namespace or route.key.namespace, ref.name))

    async def _pods(self, service: StoredService | None, pool: InferencePool | None) -> tuple[Pod, ...]:
        if service is not None:
            wanted, namespace = {SERVICE_LABEL: service.metadata.name}, service.key.namespace
        elif pool is not None:
            wanted, namespace = pool.spec.selector.match_labels, pool.key.namespace
        else:
            return ()
        listed = await self.list(Pod, namespace)
        return tuple(pod for pod in listed if wanted.items() <= pod.metadata.labels.items())

    async def _deployments(self, service: Key) -> tuple[Deployment, ...]:
        names = workload_names(service.name)
        found = [await self._get(Deployment, Key(service.namespace, name)) for name in names]
        return tuple(each for each in found if each and each.metadata.labels.get(SERVICE_LABEL) == service.name)

    async def _told(self, pods: Iterable[Pod]) -> dict[str, Told]:
        """Read Events and last words of pods that are not ready, on a cluster; a laptop's pods say them themselves."""
        connection = self._fleet.connection
        if connection is None:
            return {}
        from argosy.edge.kube.events_about import events_about  # noqa: PLC0415 (laptops do without)

        troubled = [pod for pod in pods if not pod.ready and pod.metadata.deletion_timestamp is None][:LOOKED_INTO]
        told: dict[str, Told] = {}
        for pod in troubled:
            events = await self._allowed(events_about(connection, pod))
            told[pod.metadata.name] = Told(events=events or (), last_words=await self._last_words(pod))
        return told

    async def _last_words(self, pod: Pod) -> str:
        """Give the end of what a container wrote that has ended; nothing where there is none."""
        from argosy.edge.kube.pod_proxy import LogOptions, log_lines  # noqa: PLC0415

        connection = self._fleet.connection
        statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
        ended = next((s for s in statuses if "terminated" in s.state or "terminated" in s.last_state), None)
        if ended is None or connection is None:
            return ""
        options = LogOptions(tail=LAST_LINES, previous="terminated" not in ended.state)
        try:
            async with aclosing(log_lines(connection, pod.key, ended.name, options)) as lines:
                return " / ".join([line.decode(errors="replace") async for line in lines])
        except PeerError:
            return ""

    async def _get(self, kind: type[K], key: Key) -> K | None:
        return await self._allowed(self._fleet.store.get(kind, key))

    async def _allowed(self, reading: Awaitable[T]) -> T | None:
        try:
            return await reading
        except Withheld as error:
            self._unseen.append(str(error))
            return None


async def _asked(fleet: Fleet, model: str) -> Answer:
    """Ask a model for one token, as a client would."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    try:
        async with open_model_api(fleet) as api:
            return await _token(api, msgspec.json.encode(body))
    except (NotNow, PeerError) as error:
        return Answer(status=0, text=str(error), way="the Gateway")


async def _token(api: ModelApi, body: bytes) -> Answer:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        async with asyncio.timeout(ASKED_S), aclosing(api.pieces("POST", "/chat/completions", body)) as pieces:
            async for _ in pieces:
                pass
    except ApiAnswer as answer:
        return Answer(status=answer.status, text=answer.text, way=api.way)
    except TimeoutError:
        return Answer(status=0, text=f"nothing within {ASKED_S:.0f} s", way=api.way)
    except PeerError as error:
        return Answer(status=0, text=str(error), way=api.way)
    return Answer(status=200, seconds=loop.time() - begun, way=api.way)
