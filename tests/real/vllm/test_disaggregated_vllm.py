"""Prefill and decode in two workers of real vLLM, KV caches going over NIXL, behind real Envoy and the real picker."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from argosy.api.disaggregation import ANNOTATION
from argosy.api.inference import InferencePool
from argosy.api.names import DECODE_ROLE, ENGINE_PORT, KV_LAYOUT_LABEL, PREFILL_ROLE, ROLE_LABEL, SERVICE_LABEL
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import DataPlane, data_plane
from harness.engine import chat_body, events, said
from harness.picker_process import PickerProcess, picker_process
from harness.vllm_worker import MODEL, VLLMWorker, start_together
from harness.waiting import until

pytestmark = pytest.mark.timeout(660)  # two workers start in a minute where nothing else runs

CHAT = "/v1/chat/completions"
PATIENCE_S = 400.0
"""How long a request may take in all; those with faults include the end of a killed worker."""
FAULT_S = 60.0
"""How long an answer may take from the end of its prefill worker on.

vLLM waits 5 s for a peer that it has never met. A connection that breaks it notices at once, and then computes.
"""
TEXTS = {
    "a line": "Say the days of the week.",
    "a paragraph": "Repeat after me. " + "The bridge is old and the river is deep. " * 12,
    "a page": "A ship sailed over the wide sea with cargo and crew, and the captain wrote a letter. " * 22,
    "pages": "The history of the river town is long; its market, mill and bridge were built in turn. " * 80,
}
"""The model is sure of every word of its answers: which of near equals it takes hangs on the order of sums."""
_numbers = itertools.count(1)


class Served(NamedTuple):
    """Everything that a request goes through."""

    plane: DataPlane
    picker: PickerProcess
    prefill: VLLMWorker
    decode: VLLMWorker

    async def ask(self, body: dict[str, Any]) -> str:
        """Give the text that a client gets, which must come from the decode worker."""
        patience = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with self.plane.client() as client, client.post(CHAT, json=body, timeout=patience) as answer:
            assert answer.status == 200, await answer.text()
            if body.get("stream"):
                return said([event async for event in events(answer)])
            return text_of(await answer.json())

    async def legs(self, outcome: str) -> float:
        return await self.picker.metric("argosy_prefill_legs_total", outcome=outcome)


def text_of(answer: Any) -> str:
    return answer["choices"][0]["message"]["content"]


def unseen(text: str, **more: Any) -> dict[str, Any]:
    """Give a request whose prompt no worker has had, from its first block on."""
    return chat_body(f"{next(_numbers)}. {text}", max_tokens=24, **more)


@pytest.fixture
async def served(tmp_path: Path, prefill_and_decode: tuple[VLLMWorker, VLLMWorker]) -> AsyncIterator[Served]:
    prefill, decode = prefill_and_decode
    async with data_plane(tmp_path, request_timeout_s=PATIENCE_S) as plane:
        await plane.publish_model(MODEL)
        policy = json.dumps({"thresholdTokens": 1, "prefillTimeoutSeconds": 60})
        metadata = {"namespace": "default", "name": MODEL, "annotations": {ANNOTATION: policy}}
        pool = {"selector": {"matchLabels": {SERVICE_LABEL: MODEL}}, "targetPorts": [{"number": ENGINE_PORT}]}
        await plane.apply(InferencePool, {"metadata": metadata, "spec": pool})
        for role, worker in ((PREFILL_ROLE, prefill), (DECODE_ROLE, decode)):
            labels = {SERVICE_LABEL: MODEL, ROLE_LABEL: role, KV_LAYOUT_LABEL: "a"}
            await plane.add_pod(Key("default", role), labels, worker.endpoint.address)
        async with picker_process(plane.store_address, tmp_path, address=plane.address()) as picker:
            await plane.add_picker(Endpoint.parse(picker.address))
            await plane.programmed()
            await start_together(prefill, decode)
            yield Served(plane, picker, prefill, decode)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_the_answer_is_that_of_one_worker_and_decode_computes_none_of_the_prompt(
    served: Served, text: str, *, stream: bool
) -> None:
    body = unseen(text)
    plain = await served.prefill.ask(body)
    before = await served.decode.tokens()
    assert await served.ask({**body, "stream": stream}) == text_of(plain)
    after = await served.decode.tokens()
    assert {source: after[source] - before[source] for source in after} == {
        "external_kv_transfer": plain["usage"]["prompt_tokens"],
        "local_compute": 0,
        "local_cache_hit": 0,
    }
    assert await served.legs("done") == 1


async def test_a_client_that_leaves_has_its_prefill_aborted(served: Served) -> None:
    generated = await served.prefill.metric("generation_tokens_total")
    before = await served.decode.tokens()
    asked = asyncio.create_task(served.ask(unseen(TEXTS["pages"])))
    await until(lambda: served.prefill.metric("num_requests_running"))
    asked.cancel()

    async def is_idle() -> bool:
        return await served.prefill.metric("num_requests_running") == 0

    await until(is_idle)
    assert await served.prefill.metric("generation_tokens_total") == generated, "the prefill came to its end"
    assert await served.legs("cancelled") == 1
    assert await served.decode.tokens() == before


async def prefilled_while_decode_waits(served: Served, body: dict[str, Any]) -> asyncio.Task[str]:
    """Ask; give the request when its prefill is done, and the decode worker has its part but does nothing yet."""
    served.decode.pause(whole=False)
    asked = asyncio.create_task(served.ask(body))
    done = await served.legs("done")

    async def is_prefilled() -> bool:
        return await served.legs("done") == done + 1

    await until(is_prefilled)
    return asked


async def test_a_prefill_worker_killed_between_the_legs_is_made_up_for(served: Served) -> None:
    body = unseen(TEXTS["a page"])
    plain = await served.prefill.ask(body)
    before = await served.decode.tokens()
    asked = await prefilled_while_decode_waits(served, body)
    served.prefill.kill()
    served.decode.go_on()
    assert await asyncio.wait_for(asked, FAULT_S) == text_of(plain)
    after = await served.decode.tokens()
    assert after["local_compute"] - before["local_compute"] == plain["usage"]["prompt_tokens"]
    assert after["external_kv_transfer"] == before["external_kv_transfer"]


async def test_a_prefill_worker_killed_during_the_pull_is_made_up_for(served: Served) -> None:
    await served.ask(unseen(TEXTS["a line"]))  # from now on they know each other
    body = unseen(TEXTS["a page"])
    plain = await served.prefill.ask(body)
    before = await served.decode.tokens()
    failed = await served.decode.metric("nixl_num_failed_transfers_total")
    asked = await prefilled_while_decode_waits(served, body)
    served.prefill.pause(whole=True)
    served.decode.go_on()
    await until(lambda: served.decode.metric("num_requests_kv_fetch_by_stage", stage="in_progress"))
    served.prefill.kill()
    assert await asyncio.wait_for(asked, FAULT_S) == text_of(plain)
    after = await served.decode.tokens()
    assert after["local_compute"] - before["local_compute"] == plain["usage"]["prompt_tokens"]
    assert after["external_kv_transfer"] == before["external_kv_transfer"]
    assert await served.decode.metric("nixl_num_failed_transfers_total") == failed + 1
