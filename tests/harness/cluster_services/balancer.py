"""Addresses for Services of type LoadBalancer: what a cloud gives on a cluster of its own. Pure.

Rules of this file:

- An address belongs to one Service for as long as it is there; freed ones are given again, the lowest first.
"""

from collections.abc import Iterable

from argosy.api.kubernetes import Service
from argosy.api.objects import Key

RANGE = "10.245.200"
KIND = "LoadBalancer"


def missing_addresses(services: Iterable[Service]) -> dict[Key, str]:
    """Give an address for each Service that waits for one, as far as there are any."""
    wanting = [service for service in services if service.spec.type == KIND]
    held = {each.ip for service in wanting for each in service.status.load_balancer.ingress}
    free = (address for address in (f"{RANGE}.{number}" for number in range(1, 255)) if address not in held)
    waiting = (service.key for service in wanting if not service.status.load_balancer.ingress)
    return dict(zip(waiting, free, strict=False))
