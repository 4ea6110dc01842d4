"""What an API server says of itself: its version, and the ports at which pods reach it."""

import re
from typing import Final

from argosy.api.discovery import SLICE_SERVICE, EndpointSlice
from argosy.edge.kube.connection import AnsweredWith, Connection
from argosy.edge.kube.port import ObjectStore, StoreUnavailable

_NUMBER: Final = re.compile(r"\d+")


async def server_version(connection: Connection) -> tuple[int, int]:
    """Give major and minor version. Raises `StoreUnavailable`."""
    try:
        answer = await connection.call("GET", "/version", {})
        # Some providers write the minor version as "30+".
        major, minor = (_NUMBER.match(str(answer[part])) for part in ("major", "minor"))
    except AnsweredWith as error:
        raise StoreUnavailable(f"the API server's version cannot be read: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise StoreUnavailable(f"the API server's version cannot be read: {error}") from error
    if major is None or minor is None:
        raise StoreUnavailable(f"the API server's version cannot be read: {answer}")
    return int(major[0]), int(minor[0])


async def server_ports(store: ObjectStore) -> frozenset[int]:
    """Give the ports of the API servers behind Service default/kubernetes. Raises the port's read errors."""
    slices = (await store.list(EndpointSlice, namespace="default")).items
    return frozenset(
        port.port
        for each in slices
        if each.metadata.labels.get(SLICE_SERVICE) == "kubernetes"
        for port in each.ports
        if port.port is not None
    )
