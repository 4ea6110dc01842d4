"""Pools that name a picker → a Service of that name in their namespaces, which leads to the shared pickers.

An `endpointPickerRef` names a Service of the pool's own namespace, but the pickers are shared by all. So in each such
namespace there is a Service without a selector, and an EndpointSlice for each kind and port of the pickers' addresses.

Rules of this file:

- They come with the first pool of a namespace that names the pickers and go with the last; no pool owns them.
- A stranger's Service of that name is left as it is, and has no slice of ours: it leads where its maker wants.
- In the pickers' own namespace the name is theirs already.

Source: inference.networking.k8s.io/v1, EndpointPickerRef; Kubernetes, "Services without selectors".
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from argosy.api.discovery import (
    SLICE_MANAGER,
    SLICE_SERVICE,
    EndpointConditions,
    EndpointSlice,
    SliceEndpoint,
    SlicePort,
)
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service, ServicePort, ServiceSpec
from argosy.api.names import COMPONENT, MANAGED_BY, PART_OF, PICKER_PORT, PICKER_SERVICE
from argosy.api.objects import Key, Object, ObjectMeta
from argosy.base.endpoint import Endpoint
from argosy.decide.planning.changes import Change, changes, marked
from argosy.decide.translation.pickers import names_shared_picker, picker_endpoints

OWNER: Final = "argosy-picker-references"
"""The value of `app.kubernetes.io/managed-by`: only objects that carry it are ever changed or removed."""
KINDS: Final = (EndpointSlice, Service)
"""What is made, in the order of removal."""
PORT_NAME: Final = "ext-proc"


def picker_reference_changes(
    pools: Iterable[InferencePool], pods: Iterable[Pod], observed: Iterable[Object], *, pickers: Key
) -> tuple[Change, ...]:
    """Give the changes that make the references of all pools lead to the ready pickers.

    `pickers` names their Service, which is among `observed`, with the other Services and EndpointSlices of all
    namespaces; `pods` holds the pickers' pods at least.
    """
    observed = tuple(observed)
    services = {obj.key: obj for obj in observed if isinstance(obj, Service)}
    named = {pool.key.namespace for pool in pools if names_shared_picker(pool)} - {pickers.namespace}
    free = sorted(ns for ns in named if _is_ours_or_absent(services.get(Key(ns, PICKER_SERVICE))))
    endpoints = picker_endpoints(services.get(pickers), pods)
    wanted = [marked(obj) for ns in free for obj in picker_reference(ns, endpoints)]
    names = {(obj.KIND, obj.key) for obj in wanted}
    stray = [
        Change(verb="delete", object=obj)
        for kind in KINDS
        for obj in sorted((obj for obj in observed if isinstance(obj, kind)), key=lambda obj: obj.key)
        if _is_ours_or_absent(obj) and (obj.KIND, obj.key) not in names
    ]
    return (*changes(wanted, (obj for obj in observed if (obj.KIND, obj.key) in names)), *stray)


def picker_reference(namespace: str, pickers: Iterable[Endpoint]) -> tuple[Object, ...]:
    """Give the Service of a namespace, and the slices that lead to these pickers."""
    port = ServicePort(name=PORT_NAME, port=PICKER_PORT, protocol="TCP")
    service = Service(metadata=_metadata(PICKER_SERVICE, namespace), spec=ServiceSpec(ports=(port,)))
    return (service, *_slices(namespace, pickers))


def _is_ours_or_absent(obj: Object | None) -> bool:
    return obj is None or obj.metadata.labels.get(MANAGED_BY) == OWNER


def _metadata(name: str, namespace: str, **labels: str) -> ObjectMeta:
    own = {MANAGED_BY: OWNER, PART_OF: "argosy", COMPONENT: "picker-reference"}
    return ObjectMeta(name=name, namespace=namespace, labels={**own, **labels})


def _slices(namespace: str, pickers: Iterable[Endpoint]) -> Iterator[EndpointSlice]:
    alike: dict[tuple[str, int], list[str]] = {}
    for picker in pickers:
        family = f"IPv{ipaddress.ip_address(picker.address).version}"
        alike.setdefault((family, picker.port), []).append(picker.address)
    for family, port in sorted(alike):
        yield EndpointSlice(
            metadata=_metadata(
                f"{PICKER_SERVICE}-{family.lower()}-{port}",
                namespace,
                **{SLICE_SERVICE: PICKER_SERVICE, SLICE_MANAGER: OWNER},
            ),
            address_type=family,
            endpoints=tuple(
                SliceEndpoint(addresses=(address,), conditions=EndpointConditions(ready=True))
                for address in sorted(alike[family, port])
            ),
            ports=(SlicePort(name=PORT_NAME, port=port, protocol="TCP"),),
        )
