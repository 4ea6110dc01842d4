"""The way to a fleet's models: the Gateway's own address where it answers from here, the API server elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec

from argosy.api.gateway import Gateway
from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.objects import Key
from argosy.apps.fleet.fleet import Fleet
from argosy.base.errors import NotNow, PeerError
from argosy.decide.planning.observation import installation_gateway
from argosy.decide.planning.status import gateway_url
from argosy.decide.translation.infrastructure import proxy_name
from argosy.edge.http.model_api import DirectApi, ModelApi

LOOPBACK = "127.0.0.1"
REACHED_S = 3.0
"""So long may the Gateway's own address take to list its models, before the API server is asked to pass requests on."""
LISTED_S = 15.0
MAX_LIST_BYTES = 4 << 20


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_Model, ...]


@asynccontextmanager
async def open_model_api(fleet: Fleet) -> AsyncIterator[ModelApi]:
    """Find a way to the models. Raises NotNow when there is no Gateway to ask."""
    gateway = installation_gateway((await fleet.store.list(Gateway, namespace=SYSTEM_NAMESPACE)).items)
    if gateway is None or not gateway.spec.listeners:
        raise NotNow(f"there is no Gateway {SYSTEM_NAMESPACE}/argosy yet; see: argosy status")
    if fleet.connection is None:
        async with DirectApi(gateway_url(gateway, otherwise=LOOPBACK) or "") as direct:
            yield direct
        return
    url = gateway_url(gateway)
    if url:
        async with DirectApi(url, connect_s=REACHED_S) as direct:
            if await _answers(direct):
                yield direct
                return
    from argosy.edge.kube.pod_proxy import ProxiedApi  # noqa: PLC0415 (laptops do without)

    service = Key(SYSTEM_NAMESPACE, proxy_name(gateway.metadata.name))
    yield ProxiedApi(fleet.connection, service, gateway.spec.listeners[0].port)


async def models(api: ModelApi) -> tuple[str, ...]:
    """Give the names of the models that are served. Raises `PeerError`."""
    answer = bytearray()
    try:
        async with asyncio.timeout(LISTED_S), aclosing(api.pieces("GET", "/models")) as pieces:
            async for piece in pieces:
                answer += piece
                if len(answer) > MAX_LIST_BYTES:
                    raise PeerError(f"{api.way} lists more models than can be read")
        return tuple(model.id for model in msgspec.json.decode(answer, type=_Models).data)
    except TimeoutError as error:
        raise PeerError(f"{api.way} does not list its models within {LISTED_S:.0f} s") from error
    except msgspec.DecodeError as error:
        raise PeerError(f"{api.way} lists no models: {error}") from error


async def _answers(api: ModelApi) -> bool:
    """Say whether it is really the gateway that answers: an address of a cluster may be another's out here."""
    try:
        async with asyncio.timeout(REACHED_S):
            await models(api)
    except (PeerError, TimeoutError):
        return False
    return True
