"""What stands for a Gateway in its namespace: what it is called, and at which ports its Envoys listen.

Rules of this file:

- Envoys with an address each are free in their ports, and not root: a low port is bound 10,000 above, and so is one
  that the pod itself needs; the Service in front brings the two together. Envoys that share an address have nothing
  in front, and listen where the Gateway says.
- What a Gateway asks for that cannot be given is refused; the Envoys that it has go on.
- Names of Gateways may be longer, and made of more characters, than names of Services and values of labels.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from argosy.api.gateway import Gateway, GatewayAddress
from argosy.api.kubernetes import Service
from argosy.api.names import METRICS_PORT
from argosy.base.errors import Refused
from argosy.decide.translation.attachment import listener_problem

ADMIN_PORT: Final = 9901
ANY_ADDRESS: Final = "0.0.0.0"
LOW_PORTS: Final = range(1, 1024)
SHIFT: Final = 10_000
HEADLESS: Final = "None"
_LONGEST_NAME: Final = 63
_SUFFIX: Final = "-envoy"
_DNS_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def shares_address(bind_address: str) -> bool:
    """Say whether all Envoys listen at one address: an address of a pod's own is not known when it is configured."""
    return bind_address not in (ANY_ADDRESS, "::")


def label_of(gateway: str) -> str:
    """Give a Gateway's name as a label's value and the beginning of names: itself, or so much of it and a hash."""
    longest = _LONGEST_NAME - len(_SUFFIX)
    if len(gateway) <= longest and _DNS_LABEL.fullmatch(gateway):
        return gateway
    digest = hashlib.sha256(gateway.encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9]+", "-", f"g-{gateway}")[: longest - len(digest) - 1].strip("-")
    return f"{readable}-{digest}"


def proxy_name(gateway: str) -> str:
    """Name the Service, the Deployment and the rest that stand for a Gateway of this name."""
    return f"{label_of(gateway)}{_SUFFIX}"


def served_ports(gateway: Gateway) -> tuple[int, ...]:
    """Give the ports of a Gateway's valid listeners, in order."""
    return tuple(
        sorted({each.port for each in gateway.spec.listeners if listener_problem(gateway, each) is None}),
    )


def bound_ports(ports: Iterable[int], *, bind_address: str) -> dict[int, int]:
    """Give where Envoy listens for each port of a Gateway."""
    ports = sorted(set(ports))
    if shares_address(bind_address):
        return {port: port for port in ports}
    in_the_way = {ADMIN_PORT, METRICS_PORT}
    bound = {port: port for port in ports if port not in LOW_PORTS and port not in in_the_way}
    taken = in_the_way | set(bound)
    for port in ports:
        if port not in bound:
            bound[port] = next(free for free in range(port + SHIFT, 65536) if free not in taken)
            taken.add(bound[port])
    return {port: bound[port] for port in ports}


def gateway_problem(gateway: Gateway) -> Refused | None:
    """Say what of a Gateway, apart from its listeners, cannot be honoured; `by` is the reason of its condition."""
    if gateway.spec.addresses:
        why = "spec.addresses: an address cannot be asked for here; remove it, the Service's is used"
        return Refused(by="UnsupportedAddress", why=why)
    if gateway.spec.infrastructure is not None and gateway.spec.infrastructure.parameters_ref is not None:
        why = "spec.infrastructure.parametersRef: there are no such parameters; remove it"
        return Refused(by="InvalidParameters", why=why)
    return None


def gateway_addresses(service: Service | None, *, bind_address: str) -> tuple[GatewayAddress, ...]:
    """Give where a Gateway is reached; `service` is the one that stands for it, None where there is none.

    That is what a load balancer has given, else the Service's own address; where Envoys share one, it is that.
    """
    if shares_address(bind_address):
        return (GatewayAddress(type="IPAddress", value=bind_address),)
    if service is None:
        return ()
    given = service.status.load_balancer.ingress
    addresses = [GatewayAddress(type="IPAddress", value=each.ip) for each in given if each.ip]
    addresses += [GatewayAddress(type="Hostname", value=each.hostname) for each in given if each.hostname]
    own = service.spec.cluster_ip
    if not addresses and own is not None and own != HEADLESS:
        addresses.append(GatewayAddress(type="IPAddress", value=own))
    return tuple(addresses)
