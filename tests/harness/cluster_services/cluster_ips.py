"""Services and EndpointSlices → rules of nftables. Pure.

Rules of this file:

- A connection to a Service's address goes to one of its endpoints, drawn at random; later packets follow it.
- Endpoints are those that are ready; when none is, those that still serve while they end (Kubernetes, "Virtual IPs and
  Service Proxies", "Traffic to terminating endpoints").
- A pod that reaches itself through a Service sees the cluster's network as its peer, since its own answer to itself
  would never pass the rules.
- Whatever is sent to a Service's range and is no port of a Service with endpoints is refused at once.
- The whole table is replaced in one transaction; endpoints of connections that exist are not asked for again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from argosy.api.discovery import SLICE_SERVICE, EndpointSlice, SliceEndpoint
from argosy.api.kubernetes import Service
from argosy.api.objects import Key
from harness.network import API_ADDRESS, SERVICE_RANGE


class Front(NamedTuple):
    """Where a Service is reached."""

    address: str
    protocol: str
    port: int


class Backend(NamedTuple):
    """Where it leads."""

    address: str
    port: int


def backends(services: Iterable[Service], slices: Iterable[EndpointSlice]) -> dict[Front, tuple[Backend, ...]]:
    """Give the endpoints of each port of each Service that has an address."""
    of_service: dict[Key, list[EndpointSlice]] = defaultdict(list)
    for each in slices:
        if each.address_type == "IPv4":
            of_service[Key(each.key.namespace, each.metadata.labels.get(SLICE_SERVICE, ""))].append(each)
    found: dict[Front, tuple[Backend, ...]] = {}
    for service in services:
        address = service.spec.cluster_ip
        ingress = (each.ip for each in service.status.load_balancer.ingress)
        addresses = [each for each in (address, *ingress) if each and each != "None"]
        for port in service.spec.ports:
            protocol = (port.protocol or "TCP").lower()
            behind = _chosen(of_service[service.key], port.name or "", protocol)
            found |= {Front(each, protocol, port.port): behind for each in addresses}
    return found


def rules(behind: Mapping[Front, tuple[Backend, ...]]) -> str:
    """Give the rules as `nft -f` reads them."""
    served = sorted((front, endpoints) for front, endpoints in behind.items() if endpoints)
    elements = [f"{front.address} . {front.protocol} . {front.port} : goto s{i}" for i, (front, _) in enumerate(served)]
    chains = [
        f"chain s{i} {{ meta l4proto {front.protocol} dnat ip to"
        f" numgen random mod {len(endpoints)} map {{ {_numbered(endpoints)} }}; }}"
        for i, (front, endpoints) in enumerate(served)
    ]
    own = sorted({endpoint.address for _, endpoints in served for endpoint in endpoints})
    services = "map services { type ipv4_addr . inet_proto . inet_service : verdict"
    to_self = "set to_self { type ipv4_addr . ipv4_addr"
    lines = [
        "table ip services",
        "delete table ip services",
        "table ip services {",
        *chains,
        f"{services}; elements = {{ {', '.join(elements)} }} }}" if elements else f"{services}; }}",
        f"{to_self}; elements = {{ {', '.join(f'{each} . {each}' for each in own)} }} }}" if own else f"{to_self}; }}",
        *_HOOKS,
        "}",
    ]
    return "\n".join(lines) + "\n"


_LEAD = "ip daddr . meta l4proto . th dport vmap @services;"
_REFUSE = f"ip daddr {SERVICE_RANGE} meta l4proto tcp reject with tcp reset; ip daddr {SERVICE_RANGE} reject;"
_TO_SELF = f"ip saddr . ip daddr @to_self snat to {API_ADDRESS};"
_HOOKS = (
    f"chain arriving {{ type nat hook prerouting priority dstnat; {_LEAD} }}",
    f"chain sent {{ type nat hook output priority -100; {_LEAD} }}",
    f"chain leaving {{ type nat hook postrouting priority srcnat; {_TO_SELF} }}",
    f"chain forwarded {{ type filter hook forward priority filter; {_REFUSE} }}",
    f"chain refused {{ type filter hook output priority filter; {_REFUSE} }}",
)


def _chosen(slices: Iterable[EndpointSlice], port_name: str, protocol: str) -> tuple[Backend, ...]:
    ready: set[Backend] = set()
    ending: set[Backend] = set()
    for each in slices:
        for port in each.ports:
            if port.name != port_name or (port.protocol or "TCP").lower() != protocol or port.port is None:
                continue
            for endpoint in each.endpoints:
                here = {Backend(address, port.port) for address in endpoint.addresses}
                if _is_ready(endpoint):
                    ready |= here
                elif _still_serves(endpoint):
                    ending |= here
    return tuple(sorted(ready or ending))


def _is_ready(endpoint: SliceEndpoint) -> bool:
    return endpoint.conditions is None or endpoint.conditions.ready is not False


def _still_serves(endpoint: SliceEndpoint) -> bool:
    return bool(endpoint.conditions and endpoint.conditions.serving and endpoint.conditions.terminating)


def _numbered(endpoints: Iterable[Backend]) -> str:
    return ", ".join(f"{number} : {each.address} . {each.port}" for number, each in enumerate(endpoints))
