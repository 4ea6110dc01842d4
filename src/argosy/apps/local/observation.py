"""What an instance looks like from outside: for `argosy status`, and for `argosy up` while it waits.

Everything is read from the store and from the metrics pages of picker and Envoy; nothing is asked of the supervisor.
"""

import asyncio
from collections.abc import Iterable

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from argosy.api.gateway import Gateway
from argosy.api.kubernetes import Pod
from argosy.api.llmservice import LLMService, StandIn
from argosy.api.names import COMPONENT, ENGINE_PORT, METRICS_PORT, SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import Condition, Key
from argosy.decide.planning.installation import GATEWAY_NAME
from argosy.edge.kube.port import ObjectStore

FAIL_OPENS = "envoy_http_ext_proc_failure_mode_allowed"
METRICS_TIMEOUT = aiohttp.ClientTimeout(total=2)
MAX_PAGE_BYTES = 4 << 20

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A process: a component of the installation."""

    name: str
    pod: str
    pid: int | None
    address: str | None
    ready: bool
    restarts: int
    message: str


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """A worker of a service.

    `address` is its endpoint, `picks` the requests that the picker sent there, None when that is not known.
    """

    name: str
    pid: int | None
    address: str | None
    ready: bool
    restarts: int
    message: str
    picks: int | None


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """A service.

    `requests` were picked for it since the picker started, `running` have not ended; None while the picker does not
    answer. `settled` says that nothing is
    changing any more: the newest revision has all its replicas.
    """

    name: str
    namespace: str
    model: str
    available: bool
    message: str
    wanted: int
    settled: bool
    requests: int | None
    running: int | None
    replicas: tuple[Replica, ...]
    conditions: tuple[Condition, ...]
    stand_ins: tuple[StandIn, ...]

    @property
    def serving(self) -> bool:
        """Whether all replicas that are wanted serve the newest revision; true of none wanted."""
        return self.settled and (self.available or not self.wanted)


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's address and what went through it.

    `fail_opens` are requests that Envoy routed without the picker; `served_not_picked` are answers from an endpoint
    that the picker had not named, `fallback_served` from one further down its list. All count since their process
    started; None while it does not answer.
    """

    url: str
    programmed: bool
    message: str
    picks: int | None
    reservations: int | None
    fail_opens: int | None
    served_not_picked: int | None
    fallback_served: int | None


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """An instance at one moment."""

    services: tuple[ServiceView, ...]
    components: tuple[Part, ...]
    gateway: GatewayView

    @property
    def ready(self) -> bool:
        """Whether all that is wanted serves, in its newest revision."""
        return (
            all(part.ready for part in self.components)
            and self.gateway.programmed
            and all(service.serving for service in self.services)
        )

    @property
    def failing(self) -> bool:
        """Whether a replica or component ends again and again."""
        return any(
            condition.type == "Progressing" and condition.reason == "Failing"
            for service in self.services
            for condition in service.conditions
        ) or any(part.restarts > 3 and not part.ready for part in self.components)

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Sentences about what is not ready."""
        parts = tuple(f"{part.pod}: {part.message}" for part in self.components if not part.ready)
        gateway = () if self.gateway.programmed else (f"gateway: {self.gateway.message}",)
        services = tuple(f"{s.name}: {s.message}" for s in self.services if not s.serving)
        return parts + gateway + services


async def observe(store: ObjectStore, *, supervisor_pid: int) -> Observation:
    """Look at an instance once. Raises `StoreUnavailable` when it is away."""
    services, pods = (await store.list(LLMService)).items, (await store.list(Pod)).items
    gateways = {gateway.key: gateway for gateway in (await store.list(Gateway)).items}
    picker, envoy = await _pages(pods)
    supervisor = Part(
        name="supervisor",
        pod="supervisor",
        pid=supervisor_pid,
        address=None,
        ready=True,
        restarts=0,
        message="it answers",
    )
    system = [pod for pod in pods if pod.metadata.namespace == SYSTEM_NAMESPACE]
    gateway = gateways.get(Key(SYSTEM_NAMESPACE, GATEWAY_NAME))
    return Observation(
        services=tuple(_service(service, pods, picker) for service in services),
        components=(supervisor, *(_part(pod) for pod in system)),
        gateway=_gateway(gateway, picker, envoy),
    )


async def gateway_url(store: ObjectStore) -> str:
    """Give the base URL of the OpenAI API."""
    gateways = (await store.list(Gateway)).items
    return _url(next((g for g in gateways if g.key == Key(SYSTEM_NAMESPACE, GATEWAY_NAME)), None))


def _url(gateway: Gateway | None) -> str:
    if gateway is None or not gateway.spec.listeners:
        return ""
    host = gateway.status.addresses[0].value if gateway.status.addresses else "127.0.0.1"
    return f"http://{host}:{gateway.spec.listeners[0].port}/v1"


def _gateway(gateway: Gateway | None, picker: Samples, envoy: Samples) -> GatewayView:
    programmed = next((c for c in gateway.status.conditions if c.type == "Programmed"), None) if gateway else None
    return GatewayView(
        url=_url(gateway),
        programmed=programmed is not None and programmed.status == "True",
        message=programmed.message if programmed else "the gateway controller has not looked at it yet",
        picks=_total(picker, "argosy_picks_total"),
        reservations=_total(picker, "argosy_reservations"),
        # The parser gives counters the names that OpenMetrics has for them.
        fail_opens=_total(envoy, f"{FAIL_OPENS}_total"),
        served_not_picked=_total(picker, "argosy_served_not_picked_total"),
        fallback_served=_total(picker, "argosy_fallback_served_total"),
    )


def _service(service: LLMService, pods: Iterable[Pod], picker: Samples) -> ServiceView:
    mine = [
        pod
        for pod in pods
        if pod.metadata.namespace == service.metadata.namespace
        and pod.metadata.labels.get(SERVICE_LABEL) == service.metadata.name
    ]
    conditions = {condition.type: condition for condition in service.status.conditions}
    available, progressing = conditions.get("Available"), conditions.get("Progressing")
    pool = {"pool": str(service.key)}
    return ServiceView(
        name=service.metadata.name,
        namespace=service.metadata.namespace or "",
        model=service.model_name,
        available=available is not None and available.status == "True",
        message=available.message if available else "it has not been planned yet",
        wanted=service.status.replicas,
        settled=service.status.observed_generation == service.metadata.generation
        and progressing is not None
        and progressing.reason == "Settled",
        requests=_total(picker, "argosy_picks_total", **pool),
        running=_total(picker, "argosy_reservations", **pool),
        replicas=tuple(_replica(pod, picker) for pod in mine),
        conditions=service.status.conditions,
        stand_ins=service.status.stand_ins,
    )


def _replica(pod: Pod, picker: Samples) -> Replica:
    address = f"{pod.status.pod_ip}:{ENGINE_PORT}" if pod.status.pod_ip else None
    return Replica(
        name=pod.metadata.name,
        pid=_pid(pod),
        address=address,
        ready=pod.ready,
        restarts=_restarts(pod),
        message=_message(pod),
        picks=_total(picker, "argosy_picks_total", endpoint=address or ""),
    )


def _part(pod: Pod) -> Part:
    return Part(
        name=pod.metadata.labels.get(COMPONENT, pod.metadata.name),
        pod=pod.metadata.name,
        pid=_pid(pod),
        address=pod.status.pod_ip,
        ready=pod.ready,
        restarts=_restarts(pod),
        message=_message(pod),
    )


def _pid(pod: Pod) -> int | None:
    return next((c.state["running"]["pid"] for c in pod.status.container_statuses if "running" in c.state), None)


def _restarts(pod: Pod) -> int:
    return sum(container.restart_count for container in pod.status.container_statuses)


def _message(pod: Pod) -> str:
    return next((c.message for c in pod.status.conditions if c.type == "Ready"), "it has not been started yet")


async def _pages(pods: Iterable[Pod]) -> tuple[Samples, Samples]:
    """Give the picker's and Envoy's metrics; none of one that does not answer."""
    urls = {
        "picker": "http://{}:" + f"{METRICS_PORT}/metrics",
        "envoy": "http://{}:" + f"{METRICS_PORT}/stats/prometheus?filter=ext_proc",
    }
    async with aiohttp.ClientSession(timeout=METRICS_TIMEOUT) as session:
        pages = []
        for component, url in urls.items():
            addresses = [
                pod.status.pod_ip
                for pod in pods
                if pod.metadata.namespace == SYSTEM_NAMESPACE
                and pod.metadata.labels.get(COMPONENT) == component
                and _pid(pod) is not None
            ]
            pages.append(asyncio.gather(*(_samples(session, url.format(address)) for address in addresses)))
        picker, envoy = await asyncio.gather(*pages)
    return _sum(picker), _sum(envoy)


async def _samples(session: aiohttp.ClientSession, url: str) -> Samples:
    try:
        async with session.get(url) as response:
            page = b""
            while len(page) < MAX_PAGE_BYTES and (piece := await response.content.read(65536)):
                page += piece
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
        }
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return {}


def _sum(pages: Iterable[Samples]) -> Samples:
    total: Samples = {}
    for page in pages:
        for key, value in page.items():
            total[key] = total.get(key, 0.0) + value
    return total


def _total(samples: Samples, name: str, **labels: str) -> int | None:
    """Add the values of a metric over all label sets that contain `labels`; None when there is no page to read."""
    if not samples:
        return None
    return int(
        sum(
            value
            for (found, having), value in samples.items()
            if found == name and labels.items() <= dict(having).items()
        )
    )
