"""Fetches what a pod's volumes and variables are made from: ConfigMaps, Secrets, tokens of its ServiceAccount.

Rules of this file:

- At a pod's start objects are read from the API server itself, so that it never begins with older ones than its maker
  saw. Later changes come from the node's cache, newer ones only.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from argosy.api.containers import TokenProjection
from argosy.api.kubernetes import ConfigMap, Pod, Secret
from argosy.api.objects import Object, decode
from argosy.edge.kube.connection import Connection
from harness.node.calls import found, insist
from harness.node.volumes import Missing, Needs

TOKEN_S = 3607
RENEW_AT = 0.8
"""The part of a token's life after which it is replaced."""
O = TypeVar("O", bound=Object)  # noqa: E741 (an object)


class Token(NamedTuple):
    """A token, and when a new one is due, in the event loop's time."""

    text: str
    due: float


async def fetch_objects(
    connection: Connection, namespace: str, wanted: Needs
) -> tuple[dict[str, ConfigMap], dict[str, Secret]]:
    """Give the ConfigMaps and Secrets that a pod names. Raises `Missing` for one that it cannot do without."""
    config_maps = await _fetch(connection, ConfigMap, namespace, wanted.config_maps)
    return config_maps, await _fetch(connection, Secret, namespace, wanted.secrets)


async def fetch_token(connection: Connection, pod: Pod, wanted: TokenProjection) -> Token:
    """Ask for a token that is good for as long as the pod is."""
    seconds = wanted.expiration_seconds or TOKEN_S
    reference = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
    body: dict[str, Any] = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "expirationSeconds": seconds,
            "audiences": [wanted.audience] if wanted.audience else [],
            "boundObjectRef": reference,
        },
    }
    account = pod.spec.service_account_name or "default"
    path = f"/api/v1/namespaces/{pod.key.namespace}/serviceaccounts/{account}/token"
    answer = await insist(connection, "POST", path, body)
    return Token(answer["status"]["token"], asyncio.get_running_loop().time() + RENEW_AT * seconds)


def newer(held: Mapping[str, O], seen: Mapping[str, O]) -> dict[str, O]:
    """Give what is held, with those in its place that are newer; one that is gone stays as it was."""
    fresh = {name: each for name, each in seen.items() if name not in held or _version(each) > _version(held[name])}
    return {**held, **fresh}


def _version(obj: Object) -> int:
    return int(obj.metadata.resource_version or 0)


async def _fetch(connection: Connection, kind: type[O], namespace: str, names: Mapping[str, bool]) -> dict[str, O]:
    fetched: dict[str, O] = {}
    for name, optional in names.items():
        raw = await found(connection, f"/api/v1/namespaces/{namespace}/{kind.PLURAL}/{name}")
        if raw is None and not optional:
            raise Missing(f"{kind.KIND} {name} does not exist")
        if raw is not None:
            try:
                fetched[name] = decode(kind, raw)
            except msgspec.ValidationError as error:
                raise Missing(f"{kind.KIND} {name} cannot be read: {error}") from error
    return fetched
