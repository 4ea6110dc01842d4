"""What a fleet looks like from outside: objects and metrics pages → services, replicas, components and counts.

Rules of this file:

- What could not be read is None, or is said in `unseen`; it is never taken for zero.
- A laptop and a cluster look alike; a process id is known on a laptop only.
"""

from collections.abc import Iterable, Mapping

import msgspec

from argosy.api.gateway import Gateway
from argosy.api.kubernetes import Pod
from argosy.api.llmservice import LLMService, StandIn, StoredService
from argosy.api.names import COMPONENT, ENGINE_PORT, SERVICE_LABEL, SYSTEM_NAMESPACE, WORKERS_LABEL
from argosy.api.objects import Condition, Key
from argosy.decide.planning.installation import GATEWAY_NAME
from argosy.decide.planning.pod_sentences import why_not_ready
from argosy.decide.planning.status import gateway_url
from argosy.engines.llama_cpp import REQUESTS_RUNNING, REQUESTS_WAITING, STATES_HELD
from argosy.engines.moved import REASONS

_TRANSFERS = "argosy_prefill_transfers_total"
FAIL_OPENS = "envoy_http_ext_proc_failure_mode_allowed"

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""A metrics page: values by name and labels; empty where there is no page."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A process: a component of the installation.

    `pid` is its process on a laptop, `node` where it runs.
    """

    name: str
    pod: str
    pid: int | None
    node: str | None
    address: str | None
    ready: bool
    restarts: int
    message: str


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """A worker of a service.

    `role` is the field of `spec.workers` that it is one of, empty where it does not say; `address` is its endpoint,
    `picks` what the picker sent there, requests and prompts of them, None when that is not known. `leaving`: it is to
    go, and ends what it has begun.
    """

    name: str
    role: str
    pid: int | None
    node: str | None
    address: str | None
    ready: bool
    restarts: int
    message: str
    picks: int | None
    leaving: bool = False


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """A service.

    `requests` were picked for it since the picker started, `running` have not ended. Of `prefilled` a prefill worker
    has computed the prompt; the KV caches of `not_moved` of these did not arrive, as far as engines tell. None while
    the picker does not answer. `settled` says that the newest revision has all its replicas;
    others may be leaving.
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
    prefilled: int | None
    not_moved: int | None
    replicas: tuple[Replica, ...]
    conditions: tuple[Condition, ...]
    stand_ins: tuple[StandIn, ...]

    @property
    def serving(self) -> bool:
        """Whether all replicas that are wanted serve the newest revision; true of none wanted."""
        return self.settled and (self.available or not self.wanted)

    @property
    def failing(self) -> bool:
        """Whether a replica ends again and again."""
        return any(c.type == "Progressing" and c.reason == "Failing" for c in self.conditions)


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's address and what went through it.

    `url` is empty where the Gateway has no address yet. `fail_opens` are requests that Envoy routed without the picker;
    `served_not_picked` are answers from an endpoint that the picker had not named, `fallback_served` from one further
    down its list. All count since their process started; None while it does not answer. `scheduling_usable` says
    whether every picker schedules by what its scheduling file holds, if there is one; None while none says.
    """

    url: str
    programmed: bool
    message: str
    picks: int | None
    reservations: int | None
    fail_opens: int | None
    served_not_picked: int | None
    fallback_served: int | None
    scheduling_usable: bool | None = None


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet at one moment. `unseen` says what this user may not read, or what did not answer."""

    services: tuple[ServiceView, ...]
    components: tuple[Part, ...]
    gateway: GatewayView
    unseen: tuple[str, ...] = ()

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
        return any(service.failing for service in self.services) or any(
            part.restarts > 3 and not part.ready for part in self.components
        )

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Sentences about what is not ready."""
        parts = tuple(f"{part.pod} {part.message}" for part in self.components if not part.ready)
        gateway = () if self.gateway.programmed else (f"gateway: {self.gateway.message}",)
        services = tuple(f"{s.name}: {s.message}" for s in self.services if not s.serving)
        return parts + gateway + services


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: objects, in any order, and the metrics pages of all pickers and Envoys, each added up.

    `draining` are the metrics pages of workers that end, as far as they answer. `scheduling_usable` is
    `GatewayView`'s, `supervisor_pid` the process that stands for the control plane on a laptop.
    """

    services: tuple[LLMService | StoredService, ...]
    pods: tuple[Pod, ...]
    gateways: tuple[Gateway, ...]
    picker: Samples = {}
    envoy: Samples = {}
    draining: Mapping[Key, Samples] = {}
    scheduling_usable: bool | None = None
    supervisor_pid: int | None = None
    unseen: tuple[str, ...] = ()


def observation(seen: Seen) -> Observation:
    """Give what a person is shown of what was read."""
    pods = sorted(seen.pods, key=lambda pod: pod.key)
    system = [_part(pod) for pod in pods if pod.metadata.namespace == SYSTEM_NAMESPACE]
    return Observation(
        services=tuple(_service(s, pods, seen) for s in sorted(seen.services, key=lambda s: s.key)),
        components=(*_supervisor(seen.supervisor_pid), *system),
        gateway=_gateway(installation_gateway(seen.gateways), seen),
        unseen=seen.unseen,
    )


def installation_gateway(gateways: Iterable[Gateway]) -> Gateway | None:
    """Give the Gateway that the installation makes, and that services attach to."""
    return next((gateway for gateway in gateways if gateway.key == Key(SYSTEM_NAMESPACE, GATEWAY_NAME)), None)


def _supervisor(pid: int | None) -> tuple[Part, ...]:
    if pid is None:
        return ()
    return (
        Part(
            name="supervisor",
            pod="supervisor",
            pid=pid,
            node=None,
            address=None,
            ready=True,
            restarts=0,
            message="it answers",
        ),
    )


def _gateway(gateway: Gateway | None, seen: Seen) -> GatewayView:
    programmed = next((c for c in gateway.status.conditions if c.type == "Programmed"), None) if gateway else None
    otherwise = None if seen.supervisor_pid is None else "127.0.0.1"
    message = "the gateway controller has not looked at it yet" if gateway else "there is no Gateway"
    return GatewayView(
        url=gateway_url(gateway, otherwise=otherwise) or "",
        programmed=programmed is not None and programmed.status == "True",
        message=programmed.message if programmed else message,
        picks=_total(seen.picker, "argosy_requests_total"),
        reservations=_total(seen.picker, "argosy_reservations"),
        fail_opens=_total(seen.envoy, FAIL_OPENS),
        served_not_picked=_total(seen.picker, "argosy_served_not_picked_total"),
        fallback_served=_total(seen.picker, "argosy_fallback_served_total"),
        scheduling_usable=seen.scheduling_usable,
    )


def _service(service: LLMService | StoredService, pods: Iterable[Pod], seen: Seen) -> ServiceView:
    picker = seen.picker
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
        message=_message(available, progressing),
        wanted=service.status.replicas,
        settled=service.status.observed_generation == service.metadata.generation
        and progressing is not None
        and progressing.reason in ("Settled", "Draining"),
        requests=_total(picker, "argosy_requests_total", **pool),
        running=_total(picker, "argosy_reservations", **pool),
        prefilled=_total(picker, "argosy_prefill_legs_total", outcome="done", **pool),
        not_moved=None if not picker else sum(_total(picker, _TRANSFERS, outcome=why, **pool) or 0 for why in REASONS),
        replicas=tuple(_replica(pod, picker, seen.draining.get(pod.key, {})) for pod in mine),
        conditions=service.status.conditions,
        stand_ins=service.status.stand_ins,
    )


def _message(available: Condition | None, progressing: Condition | None) -> str:
    """Say how far a service is, and who is leaving where nothing else is under way."""
    if available is None:
        return "it has not been planned yet"
    is_draining = progressing is not None and progressing.reason == "Draining"
    return f"{available.message} {progressing.message}" if progressing and is_draining else available.message


def _replica(pod: Pod, picker: Samples, own: Samples) -> Replica:
    address = f"{pod.status.pod_ip}:{ENGINE_PORT}" if pod.status.pod_ip else None
    return Replica(
        name=pod.metadata.name,
        role=pod.metadata.labels.get(WORKERS_LABEL, ""),
        pid=_pid(pod),
        node=pod.spec.node_name,
        address=address,
        ready=pod.ready,
        restarts=_restarts(pod),
        message="is ready" if pod.ready else f"{why_not_ready(pod)}{_waits_for(own)}",
        picks=_total(picker, ("argosy_picks_total", "argosy_prefill_picks_total"), endpoint=address or ""),
        leaving=pod.metadata.deletion_timestamp is not None,
    )


def _waits_for(own: Samples) -> str:
    """Say what a worker that ends waits for, by its own metrics; nothing where they do not tell."""
    if not own:
        return ""
    answers = sum(_total(own, name) or 0 for name in (REQUESTS_RUNNING, REQUESTS_WAITING))
    counts = [(answers, "request", "here"), (_total(own, STATES_HELD) or 0, "KV cache", "to be fetched")]
    said = [f"{count} {what}{'' if count == 1 else 's'} {rest}" for count, what, rest in counts if count]
    return f": {', '.join(said) or 'nothing is left to wait for'}"


def _part(pod: Pod) -> Part:
    return Part(
        name=pod.metadata.labels.get(COMPONENT, pod.metadata.name),
        pod=pod.metadata.name,
        pid=_pid(pod),
        node=pod.spec.node_name,
        address=pod.status.pod_ip,
        ready=pod.ready,
        restarts=_restarts(pod),
        message="is ready" if pod.ready else why_not_ready(pod),
    )


def _pid(pod: Pod) -> int | None:
    found = (container.state.get("running", {}).get("pid") for container in pod.status.container_statuses)
    return next((pid for pid in found if pid is not None), None)


def _restarts(pod: Pod) -> int:
    return sum(container.restart_count for container in pod.status.container_statuses)


def _total(samples: Samples, names: str | tuple[str, ...], **labels: str) -> int | None:
    """Add the values of metrics over all label sets that contain `labels`; None when there is no page to read."""
    names = (names,) if isinstance(names, str) else names
    if not samples:
        return None
    return int(
        sum(
            value
            for (found, having), value in samples.items()
            if found in names and labels.items() <= dict(having).items()
        )
    )
