"""The pickers that all pools share: where they are, and whether a pool means them; where pods of a Service listen."""

from collections.abc import Iterable

from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.names import PICKER_PORT, PICKER_SERVICE
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import servable


def names_shared_picker(pool: InferencePool) -> bool:
    """Say whether a pool's reference names the shared pickers, by the name that their Service has everywhere."""
    reference = pool.spec.endpoint_picker_ref
    return (
        reference is not None
        and reference.name == PICKER_SERVICE
        and (reference.group or "") == ""
        and (reference.kind or Service.KIND) == Service.KIND
        and (reference.port is None or reference.port.number == PICKER_PORT)
    )


def service_dns_name(service: Key) -> str:
    """Give the name by which a Service is known in every namespace, which the pickers' certificate holds."""
    return f"{service.name}.{service.namespace}.svc"


def picker_endpoints(service: Service | None, pods: Iterable[Pod]) -> tuple[Endpoint, ...]:
    """Give the ready pickers behind a Service, oldest first: the one that knows most is asked before the others."""
    return ready_endpoints(service, pods, port=PICKER_PORT)


def ready_endpoints(service: Service | None, pods: Iterable[Pod], *, port: int) -> tuple[Endpoint, ...]:
    """Give where the pods behind a port of a Service listen that may be asked, oldest first; see `servable`."""
    if service is None or not service.spec.selector:
        return ()
    wanted = service.spec.selector.items()
    mine = [
        pod
        for pod in pods
        if pod.status.pod_ip is not None
        and pod.metadata.namespace == service.metadata.namespace
        and wanted <= pod.metadata.labels.items()
    ]
    mine.sort(key=lambda pod: (pod.metadata.creation_timestamp or "", pod.key))
    return tuple(Endpoint(pod.status.pod_ip or "", _target_port(service, pod, port)) for pod in servable(mine))


def _target_port(service: Service, pod: Pod, port: int) -> int:
    """Follow a port of a Service to the pod's; a named target port is looked up in the pod."""
    target = next((each.target_port for each in service.spec.ports if each.port == port), None)
    named = (each for container in pod.spec.containers for each in container.ports if each.name == target)
    if isinstance(target, str):
        return next((each.container_port for each in named), port)
    return target or port
