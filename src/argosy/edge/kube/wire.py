"""What the object store's socket speaks: paths, bounds, errors, and the name of a kind in a query.

    GET    /v1/objects?apiVersion=&kind=[&namespace=]           {"items": […], "resourceVersion": "…"}
    GET    /v1/object?apiVersion=&kind=&name=[&namespace=]      the object, or null
    GET    /v1/watch?apiVersion=&kind=&since=[&namespace=]      a line of JSON for each event
    PUT    /v1/objects?owner=   (an object)                     the object as it is then
    PUT    /v1/retaken?owner=   (an object)                     {"object": {…}, "held": [[FIELD, HOLDER, HOW], …]}
    PUT    /v1/replaced?owner=  (an object)                     the object as it is then
    PUT    /v1/status           (an object)                     the object as it is then
    DELETE /v1/objects?apiVersion=&kind=&name=[&namespace=][&uid=]

Lines of a watch: `{"type": "ADDED" | "MODIFIED" | "DELETED", "object": {…}}`, `{"type": "HEARTBEAT"}` at least every
`HEARTBEAT_S`, and `{"type": "ERROR", "error": {…}}` as the last one. Errors are `{"error": NAME, "message": "…"}`.
"""

from typing import Any, Final

from argosy.api.kinds import kind_named
from argosy.api.objects import Object
from argosy.base.errors import CallerError
from argosy.edge.kube.port import Changed, Gone, NotFound, OwnedByAnother, StoreUnavailable

OBJECTS: Final = "/v1/objects"
OBJECT: Final = "/v1/object"
RETAKEN: Final = "/v1/retaken"
REPLACED: Final = "/v1/replaced"
STATUS: Final = "/v1/status"
WATCH: Final = "/v1/watch"
HEARTBEAT_S: Final = 5.0
MAX_OBJECT_BYTES: Final = 2 * 1024 * 1024
"""The largest object, as JSON; etcd's own bound is 1.5 MiB."""


class Unreadable(CallerError):  # noqa: N818 (named for the state)
    """The request names an unknown kind, or its object is not one of that kind."""


STATUSES: Final[dict[type[Exception], int]] = {
    Unreadable: 400,
    CallerError: 400,
    NotFound: 404,
    OwnedByAnother: 409,
    Gone: 410,
    Changed: 412,
    StoreUnavailable: 503,
}
"""HTTP statuses of the port's errors."""


def kind_of(names: Any) -> type[Object]:
    """Give the kind that `apiVersion` and `kind` in a mapping name. Raises `Unreadable`."""
    api_version, name = names.get("apiVersion"), names.get("kind")
    kind = kind_named(str(api_version), str(name))
    if kind is None:
        raise Unreadable(f"this store knows no kind {name!r} of apiVersion {api_version!r}")
    return kind


def error_body(error: Exception) -> dict[str, Any]:
    """Give an error as plain values."""
    body: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, OwnedByAnother):
        body["owner"] = error.owner
    return body
