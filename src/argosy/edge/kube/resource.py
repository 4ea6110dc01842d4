"""An object's place at an API server, and what is sent of it: what is wanted, without what the server keeps."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from argosy.api.objects import Object, encode
from argosy.base.errors import CallerError

_SERVER_KEPT: Final = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def path(kind: type[Object], namespace: str | None, name: str | None = None) -> str:
    """Give the path of a kind's objects, in one namespace or in all, or of one object."""
    if (namespace and not kind.NAMESPACED) or (name is not None and kind.NAMESPACED and not namespace):
        raise CallerError(f"{kind.KIND} {name or ''} {'needs a' if kind.NAMESPACED else 'has no'} namespace")
    root = "apis" if "/" in kind.API_VERSION else "api"
    parts = ["", root, kind.API_VERSION]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.PLURAL)
    if name is not None:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def path_of(obj: Object) -> str:
    """Give the path of an object."""
    return path(type(obj), obj.key.namespace, obj.key.name)


def wanted(obj: Object) -> dict[str, Any]:
    """Give what is wanted of an object, as plain values."""
    plain = encode(obj)
    plain.pop("status", None)
    for name in _SERVER_KEPT:
        plain["metadata"].pop(name, None)
    return plain


def wanted_status(obj: Object) -> Any:
    """Give a status as plain values; its conditions have messages, empty ones too, which the API requires."""
    return _with_messages(msgspec.to_builtins(obj).get("status", {}))


def _with_messages(status: Any) -> Any:
    if isinstance(status, Mapping):
        full = {name: _with_messages(value) for name, value in status.items()}
        if "conditions" in full:
            full["conditions"] = [{"message": "", **condition} for condition in full["conditions"]]
        return full
    return [_with_messages(item) for item in status] if isinstance(status, list | tuple) else status
