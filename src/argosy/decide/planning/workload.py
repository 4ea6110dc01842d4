"""What a service owns, all of its own name: ServiceAccount, Service, Deployment, InferencePool, HTTPRoute, policies."""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from argosy.api.gateway import BackendRef, HeaderMatch, HTTPRoute, HTTPRouteSpec, ParentReference, RouteMatch, RouteRule
from argosy.api.inference import GROUP as INFERENCE_GROUP
from argosy.api.inference import InferencePool, InferencePoolSpec, TargetPort
from argosy.api.kubernetes import LabelSelector, Pod, Service, ServiceAccount, ServicePort, ServiceSpec
from argosy.api.llmservice import LLMService, Routing
from argosy.api.names import ENGINE_PORT, INSTANCE, MANAGED_BY, PART_OF, SERVICE_LABEL, SYSTEM_NAMESPACE, TRUSTED_INPUTS
from argosy.api.objects import Object, ObjectMeta, OwnerReference
from argosy.decide.planning.engine_pods import engine_deployment
from argosy.decide.planning.installation import GATEWAY_NAME
from argosy.decide.planning.pods import OWNER
from argosy.decide.planning.protection import disruption_budgets, engine_reachability
from argosy.decide.planning.stand_ins import Served
from argosy.decide.routing.endpoints import models_of

MAX_NAMES: Final = 8
"""Model names that one service is routed under at a time."""


def workload(this: Served, pods: Iterable[Pod] = ()) -> tuple[Object, ...]:
    """Give the objects of a service, in the order of creation: who pods are and who reaches them comes before them.

    `pods` are those that are there, of this and other services. Names that ready ones still answer to stay routed: a
    model that gets another name is served under the old one until its last replica has left.
    """
    metadata = _metadata(this.service)
    return (
        ServiceAccount(metadata=metadata, automount_service_account_token=False),
        engine_reachability(metadata),
        _service(metadata),
        engine_deployment(this, metadata),
        *disruption_budgets(metadata, this.replicas),
        _pool(metadata, this.service.spec.routing),
        _route(metadata, (this.service.model_name, *_names_before(this.service, pods))),
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


def _service(metadata: ObjectMeta) -> Service:
    port = ServicePort(name="http", port=ENGINE_PORT, target_port="http")
    return Service(metadata=metadata, spec=ServiceSpec(selector=_selector(metadata), ports=(port,)))


def _pool(metadata: ObjectMeta, routing: Routing) -> InferencePool:
    """Give the pool. It names no picker: the installation's serves all pools, and a pool of ours fails open."""
    believed = ",".join(sorted(set(routing.trusted_inputs)))
    return InferencePool(
        metadata=replace(metadata, annotations={TRUSTED_INPUTS: believed} if believed else {}),
        spec=InferencePoolSpec(
            selector=LabelSelector(match_labels=_selector(metadata)), target_ports=(TargetPort(number=ENGINE_PORT),)
        ),
    )


def _names_before(service: LLMService, pods: Iterable[Pod]) -> list[str]:
    mine = (
        pod
        for pod in pods
        if pod.ready
        and pod.metadata.namespace == service.metadata.namespace
        and pod.metadata.labels.get(SERVICE_LABEL) == service.metadata.name
    )
    names = {name for pod in mine for name in models_of(pod)} - {service.model_name}
    return sorted(names)[: MAX_NAMES - 1]


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
