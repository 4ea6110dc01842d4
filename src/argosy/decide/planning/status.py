"""Observed workloads → the status of each service, in plain sentences.

Conditions: `Planned` says whether the service could be turned into objects, `Available` whether requests are answered,
`Progressing` whether something is under way. A revision is a pod template; the newest is promoted when all its replicas
are ready and the old ones have left. Workloads that leave because others take over want no replicas any more.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from argosy.api.gateway import Gateway
from argosy.api.kubernetes import Deployment, Pod, PodTemplateSpec
from argosy.api.llmservice import (
    HeldField,
    LLMService,
    LLMServiceStatus,
    RoleStatus,
    StandIn,
    StartTimes,
    StoredService,
)
from argosy.api.names import PREFILL_ROLE, REVISION_LABEL, ROLE_LABEL, SERVICE_LABEL, WORKERS_LABEL
from argosy.api.objects import Condition, Key
from argosy.api.workers import ALL_WORKERS, workload_names
from argosy.base.errors import Refused
from argosy.decide.planning.plan import Plan
from argosy.decide.planning.pod_sentences import MAX_NAMED, adjective, failing, names, sentence


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What is there of one service. `problem` is why it is not planned, `url` where the Gateway is reached.

    `leaving` are those of its Deployments that stay until others serve in their place.
    """

    deployments: tuple[Deployment, ...] = ()
    leaving: frozenset[Key] = frozenset()
    pods: tuple[Pod, ...] = ()
    stand_ins: tuple[StandIn, ...] = ()
    held: tuple[HeldField, ...] = ()
    problem: Refused | None = None
    start: StartTimes | None = None
    url: str | None = None


def statuses(
    services: Iterable[LLMService],
    planned: Plan,
    deployments: Iterable[Deployment],
    pods: Iterable[Pod],
    *,
    now: str,
    url: str | None = None,
) -> tuple[LLMService, ...]:
    """Give the services with their status.

    `deployments` and `pods` may be more than the services', in any order. `now` (RFC 3339) dates the conditions that
    change; `url` is where the Gateway is reached, when it is.
    """
    by_key = {deployment.key: deployment for deployment in deployments}
    workers: dict[Key, list[Pod]] = {}
    for pod in pods:
        name = pod.metadata.labels.get(SERVICE_LABEL, "")
        workers.setdefault(Key(pod.metadata.namespace or "", name), []).append(pod)
    return tuple(
        replace(
            service,
            status=status_of(
                service,
                Situation(
                    deployments=_workloads(service.key, by_key),
                    leaving=planned.leaving,
                    pods=tuple(workers.get(service.key, ())),
                    stand_ins=planned.stand_ins.get(service.key, ()),
                    url=url,
                ),
                now=now,
            ),
        )
        for service in services
    )


def status_of(service: LLMService | StoredService, this: Situation, *, now: str) -> LLMServiceStatus:
    """Give the status of one service; a condition that stays keeps its date."""
    this = replace(this, pods=tuple(sorted(this.pods, key=lambda pod: pod.key)))
    roles = _roles(this)
    conditions = (_planned(this), _available(this, roles), _progressing(this, roles))
    return LLMServiceStatus(
        observed_generation=service.metadata.generation,
        model=service.model_name,
        replicas=sum(role.replicas for role in roles),
        ready_replicas=sum(pod.ready for pod in this.pods),
        roles=roles,
        url=this.url,
        stand_ins=this.stand_ins,
        held=this.held,
        start=this.start,
        conditions=tuple(_dated(condition, service, now) for condition in conditions),
    )


def _workloads(service: Key, there: Mapping[Key, Deployment]) -> tuple[Deployment, ...]:
    """Give the Deployments of a service; those of others may have names that its own could have."""
    keys = (Key(service.namespace, name) for name in workload_names(service.name))
    found = (there[key] for key in keys if key in there)
    return tuple(each for each in found if each.metadata.labels.get(SERVICE_LABEL) == service.name)


def _workers(of: Pod | PodTemplateSpec) -> str:
    return of.metadata.labels.get(WORKERS_LABEL, "serve")


def _roles(this: Situation) -> tuple[RoleStatus, ...]:
    """Count wanted and ready workers by role, in a fixed order."""
    by_name = {_workers(each.spec.template): each for each in this.deployments}
    return tuple(
        RoleStatus(
            name=name,
            replicas=0 if by_name[name].key in this.leaving else by_name[name].spec.replicas,
            ready_replicas=sum(pod.ready for pod in this.pods if _workers(pod) == name),
        )
        for name in ALL_WORKERS
        if name in by_name
    )


def gateway_url(gateway: Gateway | None, *, otherwise: str | None = None) -> str | None:
    """Give the base URL of the OpenAI API at a Gateway's first listener, once it has an address.

    `otherwise` is the host that stands for one that it does not have yet.
    """
    if gateway is None or not gateway.spec.listeners:
        return None
    host = gateway.status.addresses[0].value if gateway.status.addresses else otherwise
    if not host:
        return None
    listener = gateway.spec.listeners[0]
    scheme = "https" if listener.protocol == "HTTPS" else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.port}/v1"


def _planned(this: Situation) -> Condition:
    if this.problem is not None:
        return _condition("Planned", "False", this.problem.by, this.problem.why)
    if not this.deployments:
        return _condition("Planned", "False", "Waiting", "The workload has not been made yet.")
    if this.held:
        first = this.held[0]
        message = f"{first.field} of {first.object} is left as {first.holder} has set it{_more(this.held, 1)}."
        return _condition("Planned", "True", "FieldsHeld", message)
    if not this.stand_ins:
        return _condition("Planned", "True", "AsAsked", "Everything is as the file asks.")
    fields = ", ".join(each.field for each in this.stand_ins[:MAX_NAMED])
    return _condition(
        "Planned", "True", "WithStandIns", f"Stand-ins are given for {fields}{_more(this.stand_ins, MAX_NAMED)}."
    )


def _more(what: Sequence[object], named: int) -> str:
    return f" and {len(what) - named} more" if len(what) > named else ""


def _available(this: Situation, roles: Sequence[RoleStatus]) -> Condition:
    if not this.deployments and not this.pods:
        return _condition("Available", "False", "NotPlanned", "Nothing serves it yet: it has no workload.")
    answering = [role for role in roles if role.name != "prefill"]
    if this.deployments and not any(role.replicas for role in answering):
        whose = "replicas" if len(roles) == 1 else f"replicas of{_either(answering)} workers"
        return _condition(
            "Available", "False", "NoReplicas", f"{whose} is 0: requests for this model are answered 503."
        )
    ready = sum(pod.ready for pod in this.pods if pod.metadata.labels.get(ROLE_LABEL) != PREFILL_ROLE)
    # More there may be, as a revision that is not promoted, is Progressing's to tell.
    if ready and all(role.ready_replicas >= role.replicas for role in roles):
        return _condition("Available", "True", "Ready", sentence(roles, ()))
    message = f"{sentence(roles, this.pods)}{_until_then(roles)}"
    if ready:
        return _condition("Available", "True", "PartlyReady", message)
    return _condition("Available", "False", "NotReady", message)


def _either(roles: Iterable[RoleStatus]) -> str:
    return " and".join(adjective(role.name) for role in roles)


def _until_then(roles: Iterable[RoleStatus]) -> str:
    """Name the workers that stay until those that are to come serve in their place."""
    staying = [role for role in roles if not role.replicas and role.ready_replicas]
    counts = " and ".join(f"{role.ready_replicas}{adjective(role.name) or ' standard'}" for role in staying)
    one = sum(role.ready_replicas for role in staying) == 1
    return f" {counts} {'worker stays' if one else 'workers stay'} until then." if counts else ""


def _progressing(this: Situation, roles: Sequence[RoleStatus]) -> Condition:
    if this.problem is not None:
        return _condition("Progressing", "False", this.problem.by, "Nothing is changed until the plan can be made.")
    wanted = sum(role.replicas for role in roles)
    ready = all(role.ready_replicas == role.replicas for role in roles)
    ending = [pod for pod in this.pods if pod.metadata.deletion_timestamp is not None]
    is_whole = this.deployments and ready and all(map(_updated, this.deployments))
    if is_whole and wanted == len(this.pods) - len(ending):
        if ending:
            return _condition("Progressing", "True", "Draining", f"{_leaving(ending)}.")
        return _condition("Progressing", "False", "Settled", "Nothing is changing.")
    coming = [each for each in this.deployments if each.key not in this.leaving]
    refusal = next(filter(None, map(_refusal, coming)), None)
    message = f"{_takeover(coming, this.pods)}{sentence(roles, this.pods)}{_until_then(roles)}"
    if refusal:
        return _condition("Progressing", "False", "Failing", f"{message} {refusal}")
    if any(failing(pod) for pod in this.pods):
        return _condition("Progressing", "False", "Failing", message)
    return _condition("Progressing", "True", "Starting", message)


def _leaving(pods: Iterable[Pod]) -> str:
    """Say which workers leave, and what each kind of them waits for."""
    answering, computing = list[Pod](), list[Pod]()
    for pod in pods:
        (computing if pod.metadata.labels.get(ROLE_LABEL) == PREFILL_ROLE else answering).append(pod)
    said = []
    if computing:
        do = "leaves when the KV caches that it keeps" if len(computing) == 1 else "leave when the KV caches they keep"
        said.append(f"{names(computing)} {do} have been fetched or have expired")
    if answering:
        do = "finishes running answers and leaves" if len(answering) == 1 else "finish running answers and leave"
        said.append(f"{names(answering)} {do}")
    return "; ".join(said)


def _refusal(deployment: Deployment) -> str | None:
    """Say why Kubernetes makes no pods, or has given up waiting for them."""
    for condition in deployment.status.conditions:
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return f"Pods cannot be made: {condition.message}"
        if condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded":
            return "No new replica got ready in the time that it had."
    return None


def _takeover(deployments: Iterable[Deployment], pods: Sequence[Pod]) -> str:
    """Say how far the newest revisions are, while replicas of ones before them still serve."""
    said = [
        _revision(each, [pod for pod in pods if _workers(pod) == _workers(each.spec.template)]) for each in deployments
    ]
    words = "; ".join(filter(None, said))
    return f"{words}: " if words else ""


def _revision(deployment: Deployment, pods: Iterable[Pod]) -> str:
    newest = deployment.spec.template.metadata.labels.get(REVISION_LABEL)
    pods = tuple(pods)
    old = [pod for pod in pods if pod.ready and pod.metadata.labels.get(REVISION_LABEL) != newest]
    if newest is None or not old:
        return ""
    whose = adjective(_workers(deployment.spec.template))
    name = f"Revision {newest}{f' of the{whose} workers' if whose else ''}"
    new = [pod for pod in pods if pod.metadata.labels.get(REVISION_LABEL) == newest]
    if any(failing(pod) for pod in new):
        return f"{name} is not promoted, the one before it goes on serving"
    return f"{name} takes over from the one before it, {sum(pod.ready for pod in new)} ready so far"


def _updated(deployment: Deployment) -> bool:
    return deployment.status.updated_replicas == deployment.spec.replicas and deployment.status.observed_generation in (
        None,
        deployment.metadata.generation,
    )


def _condition(type_: str, status: str, reason: str, message: str) -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)


def _dated(condition: Condition, service: LLMService | StoredService, now: str) -> Condition:
    """Date a condition: a status that stays keeps its time."""
    before = next((c for c in service.status.conditions if c.type == condition.type), None)
    same = before is not None and before.status == condition.status
    return replace(
        condition,
        observed_generation=service.metadata.generation,
        last_transition_time=before.last_transition_time if same and before else now,
    )
