"""What is there of an API server's objects by label, of many kinds, and who writes each: for installing and removing.

Rules of this file:

- A kind that the server does not know has no objects.
- What the objects say is not looked at, so that one that cannot be read as its kind is found as well.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from argosy.api.objects import Key, Object
from argosy.api.records import Record
from argosy.edge.kube.connection import Connection
from argosy.edge.kube.port import NotServed
from argosy.edge.kube.refusals import reading
from argosy.edge.kube.resource import path

PAGE: Final = 500


async def inventory(
    connection: Connection, kinds: Iterable[type[Object]], *, selector: str = "", namespace: str | None = None
) -> list[Record]:
    """Give the objects of these kinds that a label selector chooses, kind by kind. Raises the port's read errors."""
    found: list[Record] = []
    for kind in kinds:
        found.extend(await _of_kind(connection, kind, selector, namespace))
    return found


async def _of_kind(connection: Connection, kind: type[Object], selector: str, namespace: str | None) -> list[Record]:
    params = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
    found: list[Record] = []
    while True:
        try:
            with reading(kind):
                answer = await connection.call("GET", path(kind, namespace), params)
        except NotServed:
            return []
        with reading(kind):
            found.extend(_record(kind, item["metadata"]) for item in answer.get("items") or ())
            token = answer["metadata"].get("continue")
        if not token:
            return found
        params = {**params, "continue": token}


def _record(kind: type[Object], metadata: Mapping[str, Any]) -> Record:
    return Record(
        kind=kind,
        key=Key(metadata.get("namespace") or "", metadata["name"]),
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        managers=frozenset(entry["manager"] for entry in metadata.get("managedFields") or () if "manager" in entry),
        deleted_at=metadata.get("deletionTimestamp"),
        finalizers=tuple(metadata.get("finalizers") or ()),
    )
