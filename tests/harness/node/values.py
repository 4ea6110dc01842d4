"""What a pod may know of itself: fields of its object, resources of its containers, variables of Services. Pure.

Source of forms and defaults: Kubernetes, "Downward API" and "Service environment variables".
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping

from argosy.api.containers import Container, ResourceFieldRef, ResourceRequirements
from argosy.api.kubernetes import Pod, Service
from argosy.api.quantity import quantity
from argosy.edge.processes.environment import pod_fields, resource_path


def fields(pod: Pod, *, address: str, host: str, references: Iterable[ResourceFieldRef] = ()) -> dict[str, str]:
    """Give values by field path, those of `references` that name a container of the pod included."""
    values = pod_fields(pod, address=address, limits={})
    values |= {
        "status.hostIP": host,
        "status.hostIPs": host,
        "status.podIPs": address,
        "metadata.labels": _lines(pod.metadata.labels),
        "metadata.annotations": _lines(pod.metadata.annotations),
    }
    named = {container.name: container for container in (*pod.spec.init_containers, *pod.spec.containers)}
    for reference in references:
        container = named.get(reference.container_name or "")
        if container is not None:
            values[f"{container.name}/{resource_path(reference)}"] = _resource(container, reference, {})
    return values


def resources(container: Container, allocatable: Mapping[str, str]) -> dict[str, str]:
    """Give the resources that a container's variables name; a limit that it does not have is the node's."""
    sources = (variable.value_from for variable in container.env)
    references = (source.resource_field_ref for source in sources if source is not None)
    return {resource_path(each): _resource(container, each, allocatable) for each in references if each is not None}


def service_variables(services: Iterable[Service], namespace: str, *, links: bool) -> dict[str, str]:
    """Give the variables of Services: those of the API server, and with `links` those of the pod's namespace."""
    variables: dict[str, str] = {}
    for service in services:
        key = service.key
        api_server = (key.namespace, key.name) == ("default", "kubernetes")
        if api_server or (links and key.namespace == namespace):
            variables |= dict(_of_service(service))
    return variables


def _of_service(service: Service) -> Iterator[tuple[str, str]]:
    address, ports = service.spec.cluster_ip, service.spec.ports
    if address in (None, "", "None") or not ports:
        return
    name = service.metadata.name.upper().replace("-", "_")
    yield f"{name}_SERVICE_HOST", str(address)
    yield f"{name}_SERVICE_PORT", str(ports[0].port)
    for port in ports:
        if port.name:
            yield f"{name}_SERVICE_PORT_{port.name.upper().replace('-', '_')}", str(port.port)
    for index, port in enumerate(ports):
        protocol = port.protocol or "TCP"
        url = f"{protocol.lower()}://{address}:{port.port}"
        prefix = f"{name}_PORT_{port.port}_{protocol}"
        if index == 0:
            yield f"{name}_PORT", url
        yield prefix, url
        yield f"{prefix}_PROTO", protocol.lower()
        yield f"{prefix}_PORT", str(port.port)
        yield f"{prefix}_ADDR", str(address)


def _resource(container: Container, reference: ResourceFieldRef, allocatable: Mapping[str, str]) -> str:
    held = container.resources or ResourceRequirements()
    kind, _, name = reference.resource.partition(".")
    given = (held.limits if kind == "limits" else held.requests).get(name)
    if given is None:
        given = held.limits.get(name) if kind == "requests" else allocatable.get(name)
    divisor = reference.divisor if reference.divisor not in (None, "0") else "1"
    return str(math.ceil(quantity(given or "0") / quantity(divisor or "1")))


def _lines(values: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(values.items()))
