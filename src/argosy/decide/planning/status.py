"""Observed workloads → the status of each service, in plain sentences.

Conditions: `Planned` says whether the service could be turned into objects, `Available` whether requests are answered,
`Progressing` whether something is under way. A revision is a pod template; the newest is promoted when all its replicas
are ready and the old ones have left.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from argosy.api.gateway import Gateway
from argosy.api.kubernetes import Deployment, Pod
from argosy.api.llmservice import HeldField, LLMService, LLMServiceStatus, StandIn, StartTimes, StoredService
from argosy.api.names import REVISION_LABEL, SERVICE_LABEL
from argosy.api.objects import Condition, Key
from argosy.base.errors import Refused
from argosy.decide.planning.plan import Plan
from argosy.decide.planning.pod_sentences import MAX_NAMED, failing, names, sentence


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What is there of one service. `problem` is why it is not planned, `url` where the Gateway is reached."""

    deployment: Deployment | None = None
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
                    deployment=by_key.get(service.key),
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
    pods = sorted(this.pods, key=lambda pod: pod.key)
    wanted = this.deployment.spec.replicas if this.deployment else 0
    ready = sum(pod.ready for pod in pods)
    conditions = (
        _planned(this),
        _available(this.deployment, wanted, ready, pods),
        _progressing(this, wanted, ready, pods),
    )
    return LLMServiceStatus(
        observed_generation=service.metadata.generation,
        model=service.model_name,
        replicas=wanted,
        ready_replicas=ready,
        url=this.url,
        stand_ins=this.stand_ins,
        held=this.held,
        start=this.start,
        conditions=tuple(_dated(condition, service, now) for condition in conditions),
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
    if this.deployment is None:
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


def _available(deployment: Deployment | None, wanted: int, ready: int, pods: list[Pod]) -> Condition:
    if deployment is None and not pods:
        return _condition("Available", "False", "NotPlanned", "Nothing serves it yet: it has no workload.")
    if deployment is not None and not wanted:
        return _condition(
            "Available", "False", "NoReplicas", "replicas is 0: requests for this model are answered 503."
        )
    if ready and ready >= wanted:  # more there may be, as a revision that is not promoted, is Progressing's to tell
        return _condition("Available", "True", "Ready", sentence(wanted, ready, []))
    message = sentence(wanted, ready, pods)
    if ready:
        return _condition("Available", "True", "PartlyReady", message)
    return _condition("Available", "False", "NotReady", message)


def _progressing(this: Situation, wanted: int, ready: int, pods: list[Pod]) -> Condition:
    deployment = this.deployment
    if this.problem is not None:
        return _condition("Progressing", "False", this.problem.by, "Nothing is changed until the plan can be made.")
    if deployment is not None and ready == wanted == len(pods) and _updated(deployment):
        return _condition("Progressing", "False", "Settled", "Nothing is changing.")
    leaving = [pod for pod in pods if pod.metadata.deletion_timestamp is not None]
    if ready >= wanted and leaving and deployment is not None:
        do = "finishes running answers and leaves" if len(leaving) == 1 else "finish running answers and leave"
        return _condition("Progressing", "True", "Draining", f"{names(leaving)} {do}.")
    refusal = _refusal(deployment)
    message = f"{_takeover(deployment, pods)}{sentence(wanted, ready, pods)}"
    if refusal:
        return _condition("Progressing", "False", "Failing", f"{message} {refusal}")
    if any(failing(pod) for pod in pods):
        return _condition("Progressing", "False", "Failing", message)
    return _condition("Progressing", "True", "Starting", message)


def _refusal(deployment: Deployment | None) -> str | None:
    """Say why Kubernetes makes no pods, or has given up waiting for them."""
    for condition in deployment.status.conditions if deployment else ():
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return f"Pods cannot be made: {condition.message}"
        if condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded":
            return "No new replica got ready in the time that it had."
    return None


def _takeover(deployment: Deployment | None, pods: list[Pod]) -> str:
    """Say how far the newest revision is, while replicas of one before it still serve."""
    newest = deployment.spec.template.metadata.labels.get(REVISION_LABEL) if deployment else None
    old = [pod for pod in pods if pod.ready and pod.metadata.labels.get(REVISION_LABEL) != newest]
    if newest is None or not old:
        return ""
    new = [pod for pod in pods if pod.metadata.labels.get(REVISION_LABEL) == newest]
    if any(failing(pod) for pod in new):
        return f"Revision {newest} is not promoted, the one before it goes on serving: "
    return f"Revision {newest} takes over from the one before it, {sum(pod.ready for pod in new)} ready so far: "


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
