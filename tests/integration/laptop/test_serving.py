"""What a client of `make up` gets."""

import asyncio
import io
import json
import select
import socket

import aiohttp
import openai
import pytest

from harness.laptop import Laptop, chat_head, run

MODEL = "smollm2"
QUESTION = [{"role": "user", "content": "Name a colour."}]


def body(*, stream: bool = False, max_tokens: int = 8, **fields: object) -> dict[str, object]:
    return {
        "model": MODEL,
        "messages": QUESTION,
        "stream": stream,
        "max_tokens": max_tokens,
        "temperature": 0,
        **fields,
    }


async def test_the_openai_client_gets_an_answer_and_its_usage(instance: Laptop) -> None:
    async with openai.AsyncOpenAI(base_url=f"{instance.url}/v1", api_key="none") as client:
        answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8)  # type: ignore[arg-type]
    assert answer.choices[0].message.content
    assert answer.model == MODEL
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


async def test_the_openai_client_gets_a_streamed_answer(instance: Laptop) -> None:
    async with openai.AsyncOpenAI(base_url=f"{instance.url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,  # type: ignore[arg-type]
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
        events = [event async for event in stream]
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert events[-1].usage is not None


async def test_the_openai_client_gets_a_completion(instance: Laptop) -> None:
    async with openai.AsyncOpenAI(base_url=f"{instance.url}/v1", api_key="none") as client:
        answer = await client.completions.create(model=MODEL, prompt="One, two,", max_tokens=4)
    assert answer.choices[0].text


async def test_the_models_of_the_gateway_are_listed(instance: Laptop) -> None:
    async with openai.AsyncOpenAI(base_url=f"{instance.url}/v1", api_key="none") as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL


async def test_64_clients_at_once_are_all_answered_by_both_replicas(instance: Laptop) -> None:
    before = instance.service()["requests"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(index: int) -> str:
            request = body(stream=index % 2 == 0, max_tokens=4)
            async with session.post(f"{instance.url}/v1/chat/completions", json=request) as response:
                assert response.status == 200, await response.text()
                return await response.text()

        answers = await asyncio.gather(*(one(index) for index in range(64)))
    assert all(answers)
    status = instance.service()
    assert status["requests"] == before + 64
    assert min(replica["picks"] for replica in status["replicas"]) > 8


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b'{"model": "smollm2", "messages": "\xff"}', 400, "UTF-8"),
        (b'{"model": "smollm2", "model": "other"}', 400, "model"),
        (b'{"messages": []}', 400, "model"),
        (b'{"model": 3}', 400, "model"),
        (b"[]", 400, "object"),
        (b'{"model": "nobody"}', 404, "nobody"),
        (b'{"model": "smollm2", "messages": []}', 400, "messages"),
        (b'{"model": "smollm2", "messages": "hello"}', 400, "messages"),
    ],
)
async def test_a_bad_body_is_refused_in_openais_format(instance: Laptop, data: bytes, status: int, says: str) -> None:
    async with aiohttp.ClientSession() as session:
        headers = {"content-type": "application/json"}
        async with session.post(f"{instance.url}/v1/chat/completions", data=data, headers=headers) as response:
            text = await response.text()
            assert response.status == status, text
            assert says in json.loads(text)["error"]["message"]


def test_a_body_of_50_mb_is_refused(instance: Laptop) -> None:
    """The answer comes before the body has ended; a client that reads while it writes sees it."""
    piece = b" " * 65536
    with socket.create_connection(("127.0.0.1", instance.port), timeout=10) as client:
        client.sendall(chat_head(50_000_000))
        client.setblocking(False)
        sent, answer = 0, b""
        while not answer and sent < 50_000_000:
            readable, writable, _ = select.select([client], [client], [], 10)
            if readable:
                answer = client.recv(65536)
            elif writable:
                sent += client.send(piece)
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


async def test_a_body_of_20_mb_passes_the_gateway_and_is_refused_by_the_engine_as_too_long(instance: Laptop) -> None:
    async with aiohttp.ClientSession() as session:
        request = io.BytesIO(json.dumps(body(max_tokens=1, metadata={"filler": "x" * 20_000_000})).encode())
        headers = {"content-type": "application/json"}
        async with session.post(f"{instance.url}/v1/chat/completions", data=request, headers=headers) as response:
            assert response.status == 400
            assert "context" in (await response.json())["error"]["message"]


async def test_steering_headers_of_a_client_change_nothing(instance: Laptop) -> None:
    served_not_picked = instance.status()["gateway"]["served_not_picked"]
    headers = {
        "x-gateway-destination-endpoint": "127.0.0.1:1",
        "X-Gateway-Model-Name": "other",
        "x-argosy-pool": "default/other",
    }
    async with aiohttp.ClientSession() as session:
        async with session.post(
            f"{instance.url}/v1/chat/completions", json=body(max_tokens=1), headers=headers
        ) as response:
            assert response.status == 200
        async with session.post(
            f"{instance.url}/v1/chat/completions", json={"model": "other"}, headers={"X-Gateway-Model-Name": MODEL}
        ) as response:
            assert response.status == 404
    assert instance.status()["gateway"]["served_not_picked"] == served_not_picked


async def test_a_client_that_stops_reading_and_goes_frees_its_place(instance: Laptop) -> None:
    request = json.dumps(body(stream=True, max_tokens=2000)).encode()
    clients = []
    for _ in range(4):
        client = socket.create_connection(("127.0.0.1", instance.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(chat_head(len(request)) + request)
        clients.append(client)
    assert all(client.recv(12) == b"HTTP/1.1 200" for client in clients)
    for client in clients:
        client.close()
    await asyncio.to_thread(instance.wait_until, lambda status: status["gateway"]["reservations"] == 0)


def test_chat_streams_an_answer(instance: Laptop) -> None:
    done = run("chat", "--state-dir", instance.state, "--max-tokens", "8", "Say", "hello.")
    assert done.stdout.strip()


def test_logs_of_a_replica_are_printed(instance: Laptop) -> None:
    assert run("logs", "--state-dir", instance.state, "smollm2-0").returncode == 0
    assert run("logs", "--state-dir", instance.state, "nobody", check=False).returncode == 2
