"""What the installation owns: namespace, GatewayClass and Gateway, and the processes behind them, wherever it stands.

Rules of this file:

- One value says what is installed, on a laptop and on a cluster; a cluster has accounts with rights, budgets, network
  policies and an operator besides, and more than one of each process.
- On a cluster the installer owns all of it, and says so by a label of its own: what plans services there, and removes
  what no service wants, does not see it as its own.
- Envoys are not among them: the gateway controller makes those of every Gateway (proxies.py).
"""

from typing import Final

import msgspec

from argosy.api.gateway import (
    AllowedRoutes,
    Gateway,
    GatewayClass,
    GatewayClassSpec,
    GatewaySpec,
    Listener,
    RouteNamespaces,
)
from argosy.api.kubernetes import Deployment, Namespace
from argosy.api.names import (
    CONTROLLER_NAME,
    GATEWAY_CLASS,
    GATEWAY_PORT,
    INSTANCE,
    MANAGED_BY,
    PART_OF,
    SYSTEM_NAMESPACE,
)
from argosy.api.objects import Object, ObjectMeta
from argosy.decide.planning.components import OnCluster, component_objects, components
from argosy.decide.planning.pods import OWNER
from argosy.decide.planning.reachability import reachability

GATEWAY_NAME: Final = "argosy"
INSTALLER: Final = "argosy-install"
"""The value of `app.kubernetes.io/managed-by` on what is installed on a cluster, and the name of who writes it."""
_RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose of the installation.

    `port` is where the Gateway takes requests; `cluster` says how it stands on a cluster, and is None on a laptop.
    """

    port: int = GATEWAY_PORT
    cluster: OnCluster | None = None


def installation_objects(installation: Installation) -> tuple[Object, ...]:
    """Give the installation's objects, in the order of creation: pods last, since they are told of Services."""
    place = installation.cluster
    by = INSTALLER if place else OWNER
    everybody = _metadata(GATEWAY_NAME, by)
    of_cluster = msgspec.structs.replace(everybody, namespace=None)
    namespace = msgspec.structs.replace(
        of_cluster, name=SYSTEM_NAMESPACE, labels={**everybody.labels, **(_RESTRICTED if place else {})}
    )
    made: list[Object] = [Namespace(metadata=namespace)]
    if place:
        made.extend(reachability(everybody, api_server_ports=place.api_server_ports))
    made.append(
        GatewayClass(
            metadata=msgspec.structs.replace(of_cluster, name=GATEWAY_CLASS),
            spec=GatewayClassSpec(controller_name=CONTROLLER_NAME, description="Envoy with Argosy's endpoint picker"),
        )
    )
    made.append(Gateway(metadata=everybody, spec=_gateway_spec(installation)))
    for component in components(place):
        made.extend(component_objects(component, _metadata(component.name, by), place))
    return tuple(sorted(made, key=lambda obj: isinstance(obj, Deployment)))


def _metadata(name: str, by: str) -> ObjectMeta:
    labels = {MANAGED_BY: by, PART_OF: "argosy", INSTANCE: name}
    return ObjectMeta(name=name, namespace=SYSTEM_NAMESPACE, labels=labels)


def _gateway_spec(installation: Installation) -> GatewaySpec:
    listener = Listener(
        name="http",
        port=installation.port,
        protocol="HTTP",
        allowed_routes=AllowedRoutes(namespaces=RouteNamespaces(from_="All")),
    )
    return GatewaySpec(gateway_class_name=GATEWAY_CLASS, listeners=(listener,))
