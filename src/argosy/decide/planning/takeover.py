"""A profile takes over from another: workers of roles that nobody wants any more stay until others serve instead.

Rules of this file:

- Everything follows from what is there now, so a restart at any point goes on from where things are.
- Old workers leave when each new role has all its ready workers, and at least one where it wants any; until then they
  are as they were, and nothing of them is changed.
- Requests are split by the new roles once no worker that does all of a request is left: it hands nothing over.
"""

from collections.abc import Iterable

from argosy.api.kubernetes import Deployment, Pod
from argosy.api.llmservice import LLMService
from argosy.api.names import BOTH_ROLES, MANAGED_BY, PREFILL_ROLE, ROLE_LABEL, SERVICE_LABEL, WORKERS_LABEL
from argosy.api.objects import Key, Object
from argosy.api.policy import PodDisruptionBudget
from argosy.api.workers import DISAGGREGATED
from argosy.decide.planning.pods import OWNER


def pods_of(service: Key, pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """Give the pods of a service that are not on their way out."""
    return tuple(
        pod
        for pod in pods
        if pod.metadata.deletion_timestamp is None
        and pod.metadata.namespace == service.namespace
        and pod.metadata.labels.get(SERVICE_LABEL) == service.name
    )


def roles_in_force(service: LLMService, pods: Iterable[Pod]) -> bool:
    """Whether requests are split between roles: the profile says so, and no worker is left that only looks the part."""
    return service.spec.serving.profile == "disaggregated" and not any(
        pod.metadata.labels.get(ROLE_LABEL) == BOTH_ROLES
        and pod.metadata.labels.get(WORKERS_LABEL) not in DISAGGREGATED
        for pod in pods_of(service.key, pods)
    )


def prefills_alone(service: LLMService, pods: Iterable[Pod]) -> bool:
    """Whether there are, or are to be, workers that cannot answer by themselves."""
    return service.spec.serving.profile == "disaggregated" or any(
        pod.metadata.labels.get(ROLE_LABEL) == PREFILL_ROLE for pod in pods_of(service.key, pods)
    )


def staying(
    service: Key, wanted: Iterable[Object], observed: Iterable[Object], pods: Iterable[Pod]
) -> tuple[Object, ...]:
    """Give the observed workloads of a service, and their budgets, that nobody wants any more and that stay for now.

    `wanted` are the objects that the service is to have.
    """
    observed, pods = tuple(observed), pods_of(service, pods)
    new = {obj.key: obj for obj in wanted if isinstance(obj, Deployment)}
    there = {obj.key: obj for obj in observed if isinstance(obj, Deployment)}
    old = {key for key, obj in there.items() if key not in new and _is_of(obj, service) and obj.spec.replicas}
    if all(_is_ready(each, there.get(key), pods) for key, each in new.items()):
        return ()
    return tuple(
        sorted(
            (obj for obj in observed if isinstance(obj, Deployment | PodDisruptionBudget) and obj.key in old),
            key=lambda obj: (obj.KIND, obj.key),
        )
    )


def _is_of(obj: Object, service: Key) -> bool:
    labels = obj.metadata.labels
    mine = (labels.get(MANAGED_BY), labels.get(SERVICE_LABEL)) == (OWNER, service.name)
    return mine and obj.key.namespace == service.namespace


def _is_ready(wanted: Deployment, there: Deployment | None, pods: Iterable[Pod]) -> bool:
    """Whether a workload has its ready pods: as many as it has been scaled to, and one at least if it wants any."""
    workers = wanted.spec.template.metadata.labels[WORKERS_LABEL]
    ready = sum(pod.ready for pod in pods if pod.metadata.labels.get(WORKERS_LABEL) == workers)
    scaled = wanted.spec.replicas if there is None else there.spec.replicas
    return ready >= max(scaled, min(1, wanted.spec.replicas))
