"""Deployment → Pods: what a laptop has instead of a controller-manager. Pure: values in, values out.

Rules of this file:

- A pod is named DEPLOYMENT-INDEX; the lowest free index is taken, so that a replaced pod gets its address again.
- A pod belongs to the revision whose template hash it carries; pods of other revisions are old.
- RollingUpdate keeps the wanted number ready: one pod more for the time of the change, an old one goes when a new one
  is ready. Recreate deletes the old pods first. Old pods that are not ready go at once.
- A pod that ends keeps its name until it is gone. Recreate waits for that, RollingUpdate takes another name meanwhile.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from argosy.api.kubernetes import Deployment, DeploymentStatus, Pod, PodSpec
from argosy.api.names import TEMPLATE_HASH_LABEL
from argosy.api.objects import Condition, Key, ObjectMeta, OwnerReference

NODE = "this-machine"


class PodChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Pods to make and to remove, and what to say of the Deployment meanwhile."""

    create: tuple[Pod, ...] = ()
    delete: tuple[Key, ...] = ()
    status: DeploymentStatus


def template_hash(deployment: Deployment, cpus: int) -> str:
    """Give the revision's name: a hash of the pod template, and of the CPUs that a pod is given."""
    template = msgspec.json.encode(deployment.spec.template, order="deterministic")
    return hashlib.sha256(b"%d %s" % (cpus, template)).hexdigest()[:10]


def pod_changes(deployment: Deployment, pods: Iterable[Pod], *, cpus: int) -> PodChanges:
    """Give the changes that bring the Deployment's pods nearer to what is wanted.

    `pods` are all pods of the namespace or more; `cpus` are those that each pod may use: pods that were given another
    number are replaced, since threads beyond the cores would slow all of them down.
    """
    there = tuple(pods)
    owned = sorted((pod for pod in there if _owned(pod, deployment)), key=_index)
    mine = [pod for pod in owned if pod.metadata.deletion_timestamp is None]
    revision = template_hash(deployment, cpus)
    new = [pod for pod in mine if pod.metadata.labels.get(TEMPLATE_HASH_LABEL) == revision]
    old = [pod for pod in mine if pod.metadata.labels.get(TEMPLATE_HASH_LABEL) != revision]
    wanted = deployment.spec.replicas
    recreate = deployment.spec.strategy is not None and deployment.spec.strategy.type == "Recreate"
    if recreate:
        gone, room = old, wanted - len(new) if mine == owned and not old else 0
    else:
        ready_new = sum(pod.ready for pod in new)
        spare = max(0, ready_new + sum(pod.ready for pod in old) - wanted)
        ready_old = [pod for pod in old if pod.ready]
        gone = [pod for pod in old if not pod.ready] + ready_old[len(ready_old) - min(spare, len(ready_old)) :]
        surge = 1 if old and wanted else 0
        room = min(wanted - len(new), wanted + surge - len(new) - (len(old) - len(gone)))
    surplus = sorted(new, key=lambda pod: (pod.ready, -_index(pod)))[: max(0, len(new) - wanted)]
    gone = [*gone, *surplus]
    names = _free_names(deployment, {pod.key for pod in there}, room)
    return PodChanges(
        create=tuple(_pod(deployment, name, revision) for name in names),
        delete=tuple(pod.key for pod in gone),
        status=_status(deployment, new, mine),
    )


def _owned(pod: Pod, deployment: Deployment) -> bool:
    return pod.metadata.namespace == deployment.metadata.namespace and any(
        reference.kind == Deployment.KIND and reference.uid == deployment.metadata.uid
        for reference in pod.metadata.owner_references
    )


def _index(pod: Pod) -> int:
    return int(pod.metadata.name.rpartition("-")[2])


def _free_names(deployment: Deployment, taken: set[Key], count: int) -> list[str]:
    namespace = deployment.metadata.namespace or ""
    names: list[str] = []
    index = 0
    while len(names) < count:
        name = f"{deployment.metadata.name}-{index}"
        if Key(namespace, name) not in taken:
            names.append(name)
        index += 1
    return names


def _pod(deployment: Deployment, name: str, revision: str) -> Pod:
    template = deployment.spec.template
    spec: PodSpec = msgspec.structs.replace(template.spec, node_name=NODE)
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=deployment.metadata.namespace,
            labels={**template.metadata.labels, TEMPLATE_HASH_LABEL: revision},
            annotations=template.metadata.annotations,
            owner_references=(
                OwnerReference(
                    api_version=Deployment.API_VERSION,
                    kind=Deployment.KIND,
                    name=deployment.metadata.name,
                    uid=deployment.metadata.uid or "",
                    controller=True,
                ),
            ),
        ),
        spec=spec,
    )


def _status(deployment: Deployment, new: list[Pod], mine: list[Pod]) -> DeploymentStatus:
    wanted = deployment.spec.replicas
    ready = sum(pod.ready for pod in mine)
    available = Condition(
        type="Available",
        status="True" if ready >= wanted else "False",
        reason="MinimumReplicasAvailable" if ready >= wanted else "MinimumReplicasUnavailable",
        message=f"{ready} of {wanted} pods are ready",
    )
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=len(mine),
        updated_replicas=len(new),
        ready_replicas=ready,
        available_replicas=ready,
        unavailable_replicas=max(0, wanted - ready),
        conditions=(available,),
    )
