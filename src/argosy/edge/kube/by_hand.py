"""Applies a service to an API server as a person wrote it.

Rules of this file:

- What is sent is the file's own text as values: a default that it writes out is wanted, and one that it leaves out is
  not.
- The field manager is `argosy-cli`. A conflict is the person's to decide: nothing is forced unless they say so.
- A rehearsal is a dry run: the server says what it would do, and does nothing.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from argosy.api.llmservice import LLMService
from argosy.api.objects import Key
from argosy.edge.kube.connection import AnsweredWith, Connection
from argosy.edge.kube.resource import path

MANAGER: Final = "argosy-cli"


class Written(NamedTuple):
    """The object before, None when it was not there, and after, as plain values."""

    before: Any
    after: Any

    @property
    def verb(self) -> str:
        """What was done, as people say it."""
        if self.before is None:
            return "created"
        versions = [each["metadata"].get("resourceVersion") for each in self]
        return "unchanged" if versions[0] == versions[1] else "changed"


async def read_service(connection: Connection, key: Key) -> Any:
    """Give a service as plain values, or None. Raises `AnsweredWith`."""
    try:
        return await connection.call("GET", path(LLMService, key.namespace, key.name), {})
    except AnsweredWith as answer:
        # A kind that is not served is 404 too, but without the name of an object.
        if answer.status.code == 404 and answer.status.details is not None and answer.status.details.name:
            return None
        raise


async def apply_service(
    connection: Connection, written: Mapping[str, Any], *, rehearse: bool = False, force: bool = False
) -> Written:
    """Apply a service as it is written. Raises `AnsweredWith`, and `StoreUnavailable`."""
    metadata = written["metadata"]
    key = Key(metadata["namespace"], metadata["name"])
    before = await read_service(connection, key)
    params = {"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
    params |= {"dryRun": "All"} if rehearse else {}
    where = path(LLMService, key.namespace, key.name)
    after = await connection.call("PATCH", where, params, body=written, form="apply-patch+yaml")
    return Written(before, after)
