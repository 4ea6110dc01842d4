"""What each ServiceAccount of the installation has asked of an API server, from its audit log."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from argosy.api.names import SYSTEM_NAMESPACE

_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:"


class Request(NamedTuple):
    """One request. `resource` has its subresource after a slash."""

    account: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    code: int

    @property
    def right(self) -> tuple[str, str, str]:
        """The right that it takes: verb, group, resource."""
        return self.verb, self.group, self.resource

    @property
    def rights(self) -> set[tuple[str, str, str]]:
        """All rights that it takes: an apply that makes the object takes `create` as well."""
        makes = (self.verb, self.code) == ("patch", HTTPStatus.CREATED)
        return {self.right, ("create", self.group, self.resource)} if makes else {self.right}


def requests(log: Path) -> Iterator[Request]:
    """Give the requests for objects, as the API server has them answered."""
    for line in log.read_text().splitlines():
        event = json.loads(line)
        user, about = event["user"]["username"], event.get("objectRef")
        if user.startswith(_USER) and about is not None:
            parts = [about.get("resource", ""), about.get("subresource", "")]
            yield Request(
                account=user.removeprefix(_USER),
                verb=event["verb"],
                group=about.get("apiGroup", ""),
                resource="/".join(part for part in parts if part),
                namespace=about.get("namespace", ""),
                name=about.get("name", ""),
                code=event.get("responseStatus", {}).get("code", 0),
            )
