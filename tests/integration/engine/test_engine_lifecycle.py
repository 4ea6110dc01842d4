"""How one engine starts, drains and ends, and what it does about clients that leave or do not read."""

import asyncio
import json
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from argosy.engines.llama_cpp import MAX_WAITING
from harness.engine import ENGINE, MODEL, WEIGHTS, Engine, chat_body, events
from harness.waiting import until

CHAT = "/v1/chat/completions"
LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 900}


async def test_sigterm_takes_requests_for_a_while_then_turns_them_away_and_lets_a_stream_finish() -> None:
    async with Engine.started() as engine:
        body = chat_body("Tell a story.", stream=True, ignore_eos=True, max_tokens=600)
        short = chat_body("Hello.", max_tokens=1)
        async with engine.http.post(CHAT, json=body) as response:
            received = [await anext(events(response))]
            engine.terminate()
            await engine.until_ready(ready=False)
            assert (await engine.post(CHAT, short))[0] == 200

            async def is_refused() -> bool:
                return (await engine.post(CHAT, short))[0] == 503

            await until(is_refused, within_s=20)
            async with engine.http.post(CHAT, json=short) as refused:
                assert refused.status == 503
                assert refused.headers["Retry-After"] == "1"
                assert refused.headers["Connection"] == "close"
            async with engine.http.get("/ping") as alive:
                assert alive.status == 200
            received += [event async for event in events(response)]
        assert received[-1] == "[DONE]"
        assert received[-2]["choices"][0]["finish_reason"] == "length"
        async with asyncio.timeout(10):
            assert await engine.process.wait() == 0


@pytest.mark.parametrize("how", ["timeout", "second signal"])
async def test_a_drain_that_is_over_cuts_answers_off_without_a_proper_end(how: str) -> None:
    drain_s = "1" if how == "timeout" else "60"
    async with Engine.started("--drain-timeout", drain_s, parallel=1) as engine:
        async with engine.http.post(CHAT, json=chat_body("Tell a story.", stream=True, **LONG)) as response:
            await anext(events(response))
            queued = asyncio.create_task(engine.post(CHAT, chat_body("Hello.")))
            await engine.until_load(running=1, waiting=1)
            engine.terminate()
            if how == "second signal":
                await engine.until_ready(ready=False)
                engine.terminate()
            with pytest.raises(aiohttp.ClientError):
                [event async for event in events(response)]
            assert (await queued)[0] == 503
        async with asyncio.timeout(10):
            assert await engine.process.wait() == 0


@pytest.mark.parametrize(("given", "used"), [({}, "300"), ({"GOMP_SPINCOUNT": "5"}, "5")])
def test_threads_that_wait_for_each_other_soon_sleep(given: dict[str, str], used: str, tmp_path: Path) -> None:
    environment = {**os.environ, **given, "OMP_DISPLAY_ENV": "verbose"}
    with (tmp_path / "said").open("wb") as said:
        # It ends when it looks for weights that are not there, with llama.cpp loaded.
        weights = f"--weights=file://{tmp_path}/none.gguf"
        subprocess.run([*ENGINE, "--model=m", weights], stderr=said, env=environment, timeout=60, check=False)
    assert f"GOMP_SPINCOUNT = '{used}'" in (tmp_path / "said").read_text()


async def test_an_idle_engine_ends_at_once() -> None:
    async with Engine.started() as engine:
        engine.terminate()
        async with asyncio.timeout(5):
            assert await engine.process.wait() == 0


async def test_an_engine_that_dies_before_the_first_token_has_sent_no_status() -> None:
    async with Engine.started() as engine:
        request = asyncio.create_task(engine.http.post(CHAT, json=chat_body("word " * 900, stream=True)))
        await engine.until_load(running=1)
        engine.process.kill()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await request


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_gives_its_slot_back(*, stream: bool) -> None:
    async with Engine.started(parallel=1) as engine:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(f"http://{engine.address}:8000", connector=connector) as leaver:
            body = chat_body("Tell a story.", stream=stream, **LONG)
            request = asyncio.create_task(leaver.post(CHAT, json=body))
            await engine.until_load(running=1)
            if stream:
                response = await request
                await anext(events(response))
                response.close()
            else:
                request.cancel()
            async with asyncio.timeout(10):
                await engine.chat("Hello.", max_tokens=1)
        ended = {name: value for name, value in (await engine.metrics()).items() if "request_success" in name}
        assert ended['vllm:request_success_total{finished_reason="abort"}'] == 1


async def test_a_full_house_turns_requests_away_before_it_reads_them() -> None:
    async with Engine.started("--write-timeout", "60", parallel=1) as engine:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(f"http://{engine.address}:8000", connector=connector) as crowd:
            story = asyncio.create_task(engine.stream("Tell a story.", **LONG))
            await engine.until_load(running=1)
            waiters = [asyncio.create_task(crowd.post(CHAT, json=chat_body("Hello."))) for _ in range(MAX_WAITING)]
            await engine.until_load(running=1, waiting=MAX_WAITING)
            async with engine.http.post(CHAT, json=chat_body("Hello.")) as refused:
                assert refused.status == 503
                assert "513 requests are here already" in (await refused.json())["error"]["message"]
            for task in (*waiters, story):
                task.cancel()
            await asyncio.gather(*waiters, story, return_exceptions=True)
            await engine.until_load(running=0)
            await engine.chat("Hello.", max_tokens=1)


async def test_a_client_that_waits_for_a_slot_can_go_away_too() -> None:
    async with Engine.started(parallel=1) as engine:
        story = asyncio.create_task(engine.stream("Tell a story.", **LONG))
        await engine.until_load(running=1)
        waiter = asyncio.create_task(engine.post(CHAT, chat_body("Hello.")))
        await engine.until_load(running=1, waiting=1)
        waiter.cancel()
        await engine.until_load(running=1)
        story.cancel()


async def test_a_client_that_stops_reading_is_cut_off_and_others_are_served() -> None:
    async with Engine.started("--write-timeout", "2", parallel=1) as engine:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, (engine.address, 8000))
        body = json.dumps(chat_body("Tell a story.", stream=True, logprobs=True, top_logprobs=20, **LONG)).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: engine\r\nContent-Length: {len(body)}\r\n\r\n"
        await loop.sock_sendall(reader, head.encode() + body)
        await engine.until_load(running=1)
        async with asyncio.timeout(60):
            await engine.chat("Hello.", max_tokens=1)
        ended = {name: value for name, value in (await engine.metrics()).items() if "request_success" in name}
        assert ended == {
            'vllm:request_success_total{finished_reason="abort"}': 1,
            'vllm:request_success_total{finished_reason="length"}': 1,
        }
        reader.close()


async def test_a_client_that_sends_half_a_body_is_told_so() -> None:
    async with Engine.started("--write-timeout", "1") as engine:
        reader, writer = await asyncio.open_connection(engine.address, 8000)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: engine\r\nContent-Length: 100\r\n\r\n{{".encode())
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [*ENGINE, "--model", MODEL, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def _gguf(architecture: bytes) -> bytes:
    """A well-formed file with one tensor of one number, of an architecture that may not exist."""
    key = b"general.architecture"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(architecture)) + architecture
    tensor = struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 1, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + entry + tensor
    return header.ljust(-(-len(header) // 32) * 32 + 4, b"\0")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, world", "not a GGUF file"),
        (_gguf(b"llama")[:60], "ends within its header"),
        (_gguf(b"nonsense"), "does not load this model"),
    ],
    ids=["empty", "text", "truncated", "unknown architecture"],
)
def test_wrong_weights_end_it_with_2_and_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    ended = _run("--weights", f"file://{path}", "--host", "127.64.1.1", "--port", "0")
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert str(path) in last
    assert reason in last
    assert "Traceback" not in ended.stderr


def test_an_address_in_use_ends_it_with_2_and_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = _run("--weights", WEIGHTS, "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert "cannot listen on 127.0.0.1" in ended.stderr
    assert "Traceback" not in ended.stderr
