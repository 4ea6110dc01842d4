"""What a service owns: ServiceAccount, Service, Deployments, InferencePool, HTTPRoute, policies.

All have its own name, but for the workloads of roles, and their budgets (`api.workers`).
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from argosy.api import disaggregation
from argosy.api.gateway import BackendRef, HeaderMatch, HTTPRoute, HTTPRouteSpec, ParentReference, RouteMatch, RouteRule
from argosy.api.inference import GROUP as INFERENCE_GROUP
from argosy.api.inference import EndpointPickerRef, InferencePool, InferencePoolSpec, PickerPort, TargetPort
from argosy.api.kubernetes import LabelSelector, Pod, Service, ServiceAccount, ServicePort, ServiceSpec
from argosy.api.llmservice import LLMService
from argosy.api.names import (
    BOTH_ROLES,
    DECODE_ROLE,
    ENGINE_PORT,
    INSTANCE,
    MANAGED_BY,
    PART_OF,
    PICKER_PORT,
    PICKER_SERVICE,
    ROLE_LABEL,
    SERVICE_LABEL,
    SYSTEM_NAMESPACE,
    TRUSTED_INPUTS,
)
from argosy.api.objects import Object, ObjectMeta, OwnerReference
from argosy.api.workers import LEGS
from argosy.decide.planning.engine_pods import engine_deployment, fetches, peer_ports
from argosy.decide.planning.installation import GATEWAY_NAME
from argosy.decide.planning.pods import OWNER
from argosy.decide.planning.protection import disruption_budget, engine_reachability
from argosy.decide.planning.stand_ins import Served
from argosy.decide.planning.takeover import pods_of, prefills_alone, roles_in_force
from argosy.decide.routing.endpoints import models_of

ANSWERING: Final = frozenset({DECODE_ROLE, BOTH_ROLES})
"""Roles that answer, of pods."""
MAX_OLD_NAMES: Final = 7
"""Names of before that one service is still routed under. With all those of now no more than one rule matches (64)."""


def workload(this: Served, pods: Iterable[Pod] = ()) -> tuple[Object, ...]:
    """Give the objects of a service, in the order of creation: who pods are and who reaches them comes before them.

    `pods` are those that are there, of this and other services. Names that ready ones still answer to stay routed: a
    model that gets another name is served under the old one until its last replica has left.
    """
    pods, metadata = tuple(pods), _metadata(this.service)
    deployments = [engine_deployment(this, role, metadata) for role in this.roles]
    return (
        ServiceAccount(metadata=metadata, automount_service_account_token=False),
        engine_reachability(metadata, peer_ports(this), fetches=fetches(this)),
        _service(metadata, this, pods),
        *deployments,
        *(budget for deployment in deployments for budget in disruption_budget(deployment)),
        _pool(metadata, this, pods),
        _route(metadata, (*this.names, *_names_before(this, pods))),
    )


def _metadata(service: LLMService) -> ObjectMeta:
    owner: tuple[OwnerReference, ...] = ()
    if service.metadata.uid is not None:
        owner = (
            OwnerReference(
                api_version=service.API_VERSION,
                kind=service.KIND,
                name=service.metadata.name,
                uid=service.metadata.uid,
                controller=True,
            ),
        )
    return ObjectMeta(
        name=service.metadata.name,
        namespace=service.metadata.namespace,
        labels={
            MANAGED_BY: OWNER,
            PART_OF: "argosy",
            INSTANCE: service.metadata.name,
            SERVICE_LABEL: service.metadata.name,
        },
        owner_references=owner,
    )


def _selector(metadata: ObjectMeta) -> dict[str, str]:
    return {SERVICE_LABEL: metadata.name}


def _service(metadata: ObjectMeta, this: Served, pods: Iterable[Pod]) -> Service:
    """Give the Service of workers that answer; of all, while there are some that do all of a request.

    A selector names one role: of those with ready pods, or else of those that are wanted, the one that only decodes.
    """
    selector = _selector(metadata)
    if roles_in_force(this.service, pods):
        ready = {pod.metadata.labels.get(ROLE_LABEL, "") for pod in pods_of(this.service.key, pods) if pod.ready}
        wanted = {LEGS[role.name] for role in this.roles}
        selector[ROLE_LABEL] = min(ready & ANSWERING or wanted & ANSWERING)
    port = ServicePort(name="http", port=ENGINE_PORT, target_port="http")
    return Service(metadata=metadata, spec=ServiceSpec(selector=selector, ports=(port,)))


def _pool(metadata: ObjectMeta, this: Served, pods: Iterable[Pod]) -> InferencePool:
    """Give the pool, of workers of all roles.

    A pool of ours names no picker: the installation's serves all pools, and fails open. With prefill workers in it, it
    names that one for gateways of other makers, which do not know roles: without a picker they are to refuse.
    """
    believed = ",".join(sorted(set(this.service.spec.routing.trusted_inputs)))
    annotations = {TRUSTED_INPUTS: believed} if believed else {}
    if this.policy is not None and roles_in_force(this.service, pods):
        annotations[disaggregation.ANNOTATION] = disaggregation.annotated(this.policy)
    picker = EndpointPickerRef(name=PICKER_SERVICE, port=PickerPort(number=PICKER_PORT), failure_mode="FailClose")
    return InferencePool(
        metadata=replace(metadata, annotations=annotations),
        spec=InferencePoolSpec(
            selector=LabelSelector(match_labels=_selector(metadata)),
            target_ports=(TargetPort(number=ENGINE_PORT),),
            endpoint_picker_ref=picker if prefills_alone(this.service, pods) else None,
        ),
    )


def _names_before(this: Served, pods: Iterable[Pod]) -> list[str]:
    service = this.service
    mine = (
        pod
        for pod in pods
        if pod.ready
        and pod.metadata.namespace == service.metadata.namespace
        and pod.metadata.labels.get(SERVICE_LABEL) == service.metadata.name
    )
    names = {name for pod in mine for name in models_of(pod)} - set(this.names)
    return sorted(names)[:MAX_OLD_NAMES]


def _route(metadata: ObjectMeta, names: tuple[str, ...]) -> HTTPRoute:
    models = (HeaderMatch(type="Exact", name="X-Gateway-Model-Name", value=name) for name in names)
    pool = BackendRef(group=INFERENCE_GROUP, kind=InferencePool.KIND, name=metadata.name, weight=1)
    return HTTPRoute(
        metadata=metadata,
        spec=HTTPRouteSpec(
            parent_refs=(ParentReference(name=GATEWAY_NAME, namespace=SYSTEM_NAMESPACE),),
            rules=(RouteRule(matches=tuple(RouteMatch(headers=(model,)) for model in models), backend_refs=(pool,)),),
        ),
    )
