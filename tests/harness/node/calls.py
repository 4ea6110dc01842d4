"""Calls to the API server that a node must get through, however long the server is away.

Rules of this file:

- What the server answers is final: a success, or `AnsweredWith` for the caller to judge. Only no answer, too many
  requests and the server's own failures are tried again, with a back-off.
"""

import asyncio
from typing import Any, Final

from argosy.edge.kube.connection import AnsweredWith, Connection
from argosy.edge.kube.port import StoreUnavailable

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 2.0
MERGE: Final = "merge-patch+json"
STRATEGIC: Final = "strategic-merge-patch+json"


async def insist(connection: Connection, method: str, path: str, body: Any = None, form: str = "json") -> Any:
    """Do one call, as often as it takes to be answered. Raises `AnsweredWith`."""
    delay_s = FIRST_DELAY_S
    while True:
        try:
            return await connection.call(method, path, {}, body=body, form=form)
        except StoreUnavailable:
            pass
        except AnsweredWith as answer:
            if answer.status.code != 429 and answer.status.code < 500:
                raise
        await asyncio.sleep(delay_s)
        delay_s = min(LONGEST_DELAY_S, 2 * delay_s)


async def found(connection: Connection, path: str) -> Any:
    """Give an object, or None where there is none."""
    try:
        return await insist(connection, "GET", path)
    except AnsweredWith as answer:
        if answer.status.code == 404:
            return None
        raise
