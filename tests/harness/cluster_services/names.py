"""The cluster's names: Services and EndpointSlices → what a query for a name is answered. Pure.

Source of the forms: Kubernetes, "DNS-Based Service Discovery" (specification 1.1.0).

Rules of this file:

- A name that exists, or under which one exists, is answered without records when it has none of the asked type; any
  other name does not exist. A resolver goes on along its search domains only after the latter.
- Nothing outside the cluster's domain exists: no query leaves.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from dns import flags, message, rcode, rdatatype, rrset

from argosy.api.discovery import SLICE_SERVICE, EndpointSlice
from argosy.api.kubernetes import Service
from argosy.api.objects import Key

DOMAIN: Final = "cluster.local"
TTL_S: Final = 5


class Record(NamedTuple):
    """One answer; `kind` and `value` are as in a zone file."""

    kind: str
    value: str


Zone = Mapping[str, tuple[Record, ...]]


def zone(services: Iterable[Service], slices: Iterable[EndpointSlice]) -> dict[str, tuple[Record, ...]]:
    """Give the records of every name; names that only stand above others have none."""
    of_service: dict[Key, list[EndpointSlice]] = defaultdict(list)
    for each in slices:
        of_service[Key(each.key.namespace, each.metadata.labels.get(SLICE_SERVICE, ""))].append(each)
    found: dict[str, set[Record]] = defaultdict(set)
    for service in services:
        name = f"{service.key.name}.{service.key.namespace}.svc.{DOMAIN}"
        if service.spec.external_name:
            found[name].add(Record("CNAME", f"{service.spec.external_name.rstrip('.')}."))
        elif service.spec.cluster_ip == "None":
            _add_endpoints(found, name, of_service[service.key])
        elif service.spec.cluster_ip:
            found[name].add(Record("A", service.spec.cluster_ip))
            for port in service.spec.ports:
                if port.name:
                    under = f"_{port.name}._{(port.protocol or 'TCP').lower()}.{name}"
                    found[under].add(Record("SRV", f"0 100 {port.port} {name}."))
    for name in list(found):
        above = name.split(".")[1:]
        while above:
            found[".".join(above)]  # an empty set: it exists
            above = above[1:]
    return {name: tuple(sorted(records)) for name, records in found.items()}


def answer(query: message.Message, names: Zone) -> message.Message:
    """Give the answer to a query."""
    response = message.make_response(query)
    response.flags |= flags.AA | flags.RA
    asked = query.question[0]
    name = asked.name.to_text(omit_final_dot=True).lower()
    records = names[name] if name in names else _of_address(name)
    if records is None:
        response.set_rcode(rcode.NXDOMAIN)
        return response
    wanted = rdatatype.to_text(asked.rdtype)
    fitting = [each for each in records if each.kind in (wanted, "CNAME") or wanted == "ANY"]
    for each in fitting:
        response.answer.append(rrset.from_text(asked.name, TTL_S, "IN", each.kind, each.value))
        if each.kind == "CNAME":
            target = each.value.rstrip(".")
            for further in names.get(target, ()):
                if further.kind == wanted:
                    response.answer.append(rrset.from_text(each.value, TTL_S, "IN", further.kind, further.value))
    return response


def _add_endpoints(found: dict[str, set[Record]], name: str, slices: Iterable[EndpointSlice]) -> None:
    for each in slices:
        for endpoint in each.endpoints:
            if endpoint.conditions is not None and endpoint.conditions.ready is False:
                continue
            for address in endpoint.addresses:
                own = f"{endpoint.hostname or address.replace('.', '-')}.{name}"
                found[name].add(Record("A", address))
                found[own].add(Record("A", address))
                for port in each.ports:
                    if port.name and port.port is not None:
                        under = f"_{port.name}._{(port.protocol or 'TCP').lower()}.{name}"
                        found[under].add(Record("SRV", f"0 100 {port.port} {own}."))


def _of_address(name: str) -> tuple[Record, ...] | None:
    """Give the record of a pod's name (10-244-1-2.NAMESPACE.pod.cluster.local), which need not be in a zone."""
    labels = name.split(".")
    numbers = labels[0].split("-")
    if labels[2:] != ["pod", *DOMAIN.split(".")] or len(numbers) != 4:
        return None
    if not all(number.isdecimal() and int(number) < 256 for number in numbers):
        return None
    return (Record("A", ".".join(numbers)),)
