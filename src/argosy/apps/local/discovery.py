"""Service variables: how a process finds a Service without DNS, as Kubernetes gives them to every pod.

`NAME_SERVICE_HOST` and `NAME_SERVICE_PORT` stand for the Service's address. A laptop has no virtual addresses, so it
is that of the Service's first pod, which the runner knows before the pod exists.
"""

from collections.abc import Callable, Iterable

from argosy.api.kubernetes import Deployment, Service
from argosy.api.objects import Key


def service_variables(
    namespace: str,
    services: Iterable[Service],
    deployments: Iterable[Deployment],
    address_of: Callable[[Key], str],
) -> dict[str, str]:
    """Give the variables for pods of a namespace; `address_of` gives the address of a pod by its name."""
    variables: dict[str, str] = {}
    local = [d for d in deployments if d.metadata.namespace == namespace]
    for service in services:
        if service.metadata.namespace != namespace or not service.spec.ports:
            continue
        wanted = service.spec.selector.items()
        behind = [d for d in local if wanted and wanted <= d.spec.template.metadata.labels.items()]
        if not behind:
            continue
        prefix = service.metadata.name.upper().replace("-", "_")
        variables[f"{prefix}_SERVICE_HOST"] = address_of(Key(namespace, f"{behind[0].metadata.name}-0"))
        variables[f"{prefix}_SERVICE_PORT"] = str(service.spec.ports[0].port)
        for port in service.spec.ports:
            if port.name:
                variables[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    return variables
