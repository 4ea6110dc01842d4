"""A model under another name, at a real engine: what it answers is named as it was asked for."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from argosy.api.inference import InferencePool
from argosy.api.objects import Object
from argosy.edge.kube.remote import RemoteStore
from harness.laptop import Laptop
from harness.services import rewrite, route
from harness.waiting import until

ALIAS = "somebody/else's-model"
PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": 'Say {"model":"smollm2"}'}]},
    "/v1/completions": {"prompt": '{"model":"smollm2", "a":'},
}


@pytest.fixture
async def url(instance: Laptop) -> AsyncIterator[str]:
    """An instance that serves its model under another name as well."""
    objects: tuple[Object, ...] = (
        route("alias", ALIAS, pool="smollm2"),
        rewrite("alias", "smollm2", ([ALIAS], ["smollm2"])),
    )
    async with RemoteStore(f"unix://{instance.state / 'store.sock'}") as store:
        pools = (await store.list(InferencePool)).items
        namespace = next(pool.key.namespace for pool in pools if pool.key.name == "smollm2")
        placed = [replace(obj, metadata=replace(obj.metadata, namespace=namespace)) for obj in objects]
        for obj in placed:
            await store.apply(obj, owner="test")

        async def is_served() -> bool:
            # Envoy and the picker learn of it each by itself.
            sent = {"model": ALIAS, "prompt": "x", "max_tokens": 1}
            async with (
                aiohttp.ClientSession() as client,
                client.post(f"{instance.url}/v1/completions", json=sent) as answer,
                client.get(f"{instance.url}/v1/models") as models,
            ):
                return answer.status == 200 and ALIAS in {model["id"] for model in (await models.json())["data"]}

        await until(is_served)
        yield instance.url
        for obj in placed:
            await store.delete(type(obj), obj.key)


async def documents(url: str, path: str, **more: Any) -> list[dict[str, Any]]:
    """Give what is answered: one document, or those of all events."""
    body = {"model": ALIAS, "max_tokens": 8, "temperature": 0, "seed": 1, **PATHS[path], **more}
    async with aiohttp.ClientSession() as client, client.post(f"{url}{path}", json=body) as answer:
        text = await answer.text()
        assert answer.status == 200, text
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line] if "stream" in more else [text]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_alias_is_served_and_answered_by_its_own_name(url: str, path: str) -> None:
    whole = await documents(url, path)
    streamed = await documents(url, path, stream=True)
    assert {each["model"] for each in (*whole, *streamed)} == {ALIAS}
    assert len(streamed) > 1
    under_its_own = await documents(url, path, model="smollm2")
    assert [each["model"] for each in under_its_own] == ["smollm2"]
    assert whole[0]["choices"] == under_its_own[0]["choices"]
