"""The Deployments of a service's engines, one for the workers of each role."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from argosy.api.kubernetes import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    LabelSelector,
    PodSpec,
    PodTemplateSpec,
    RollingUpdateDeployment,
    TemplateMeta,
)
from argosy.api.names import (
    COMPONENT,
    ENGINE_LABEL,
    KV_LAYOUT_LABEL,
    MODELS_ANNOTATION,
    REVISION_LABEL,
    ROLE_LABEL,
    SERVICE_LABEL,
    WORKERS_LABEL,
)
from argosy.api.objects import ObjectMeta
from argosy.api.workers import LEGS, workload_name
from argosy.decide.planning.engine_container import EngineContainer, EngineContainers, hands_over
from argosy.decide.planning.llama_cpp_container import llama_cpp_container
from argosy.decide.planning.pods import spread
from argosy.decide.planning.stand_ins import Served, ServedRole
from argosy.decide.planning.vllm_container import vllm_container
from argosy.engines import llama_cpp, vllm

PROGRESS_MARGIN_S: Final = 300
"""For scheduling and images: after this and the time of a start without a replica getting ready Kubernetes itself says
that a revision makes no progress."""
ENGINES: Final[Mapping[str, EngineContainers]] = {
    llama_cpp.NAME: llama_cpp_container,
    vllm.NAME: vllm_container,
}
"""By `spec.engine.name` of what is served."""


def engine_deployment(this: Served, role: ServedRole, metadata: ObjectMeta) -> Deployment:
    """Give the Deployment of a service's workers of one role. `metadata` is that of the service's objects."""
    engine = _engine(this, role)
    labels = {
        **metadata.labels,
        COMPONENT: "engine",
        ROLE_LABEL: LEGS[role.name],
        WORKERS_LABEL: role.name,
        ENGINE_LABEL: this.service.spec.engine.name,
        **({KV_LAYOUT_LABEL: _digest(engine.layout)} if hands_over(role) else {}),
    }
    selector = LabelSelector(match_labels=_selected(metadata.name, role))
    template = PodTemplateSpec(
        metadata=TemplateMeta(labels=labels, annotations={MODELS_ANNOTATION: " ".join(this.names)}),
        spec=PodSpec(
            containers=(engine.container,),
            node_selector=role.hardware.node_selector,
            service_account_name=metadata.name,
            automount_service_account_token=False,
            enable_service_links=engine.service_links,
            termination_grace_period_seconds=engine.grace_s,
            topology_spread_constraints=spread(selector),
            volumes=engine.volumes,
        ),
    )
    return Deployment(
        metadata=msgspec.structs.replace(metadata, name=workload_name(metadata.name, role.name)),
        spec=DeploymentSpec(
            replicas=role.replicas,
            selector=selector,
            strategy=DeploymentStrategy(
                type="RollingUpdate", rolling_update=RollingUpdateDeployment(max_surge=1, max_unavailable=0)
            ),
            revision_history_limit=2,
            progress_deadline_seconds=PROGRESS_MARGIN_S + engine.startup_s,
            template=_revised(template),
        ),
    )


def peer_ports(this: Served) -> tuple[int, ...]:
    """Give the ports at which a service's workers reach one another; without any, they do at all."""
    return _engine(this, this.roles[0]).peer_ports


def fetches(this: Served) -> bool:
    """Whether a service's workers fetch weights from elsewhere."""
    return _engine(this, this.roles[0]).fetches


def _engine(this: Served, role: ServedRole) -> EngineContainer:
    return ENGINES[this.service.spec.engine.name](this, role)


def _selected(service: str, role: ServedRole) -> dict[str, str]:
    """Give the labels that a Deployment's selector names, for ever: it cannot be changed.

    Workers that do all of a request are selected by the legs that they serve, and so, too, would be those of the role
    `both`. Kubernetes tells them apart by owner and template.
    """
    if role.name == "serve":
        return {SERVICE_LABEL: service, ROLE_LABEL: LEGS[role.name]}
    return {SERVICE_LABEL: service, WORKERS_LABEL: role.name}


def _revised(template: PodTemplateSpec) -> PodTemplateSpec:
    """Give the template with the name of its revision."""
    labels = {**template.metadata.labels, REVISION_LABEL: _digest(template)}
    metadata = msgspec.structs.replace(template.metadata, labels=labels)
    revised: PodTemplateSpec = msgspec.structs.replace(template, metadata=metadata)
    return revised


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:10]
