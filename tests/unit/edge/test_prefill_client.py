"""The client of prefill legs against workers over sockets: what each of them may do to a leg."""

import asyncio
import contextlib
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from argosy.base.endpoint import Endpoint
from argosy.edge.http.prefill import DEFAULT, Bounds, PrefillAnswer, PrefillClient, PrefillFailed, prefill_client
from harness.network import Network, ip, no_network_reason
from harness.waiting import until

PATH = "/v1/chat/completions?a=b"
JSON = {"content-type": "application/json"}


class Connection:
    """One connection of a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.requests = 0

    async def answer(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        lines = (f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", "")
        await self.say("\r\n".join(lines).encode() + body)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_left(self) -> None:
        """Wait until the client closes it."""
        while await self.reader.read(4096):
            pass
        raise ConnectionResetError

    def reset(self) -> None:
        taken = self.writer.get_extra_info("socket")
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Connection], Awaitable[None]]


async def echo(connection: Connection) -> None:
    await connection.answer(b"ok")


class Worker:
    """A server that keeps what it was asked, and does with it what a test says."""

    def __init__(self) -> None:
        self.behave: Behaviour = echo
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.opened = self.open = 0
        self.endpoint = Endpoint("127.0.0.1", 1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open += 1
        connection = Connection(reader, writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.transport.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
                self.bodies.append(await reader.readexactly(int(length.partition(":")[2])))
                self.heads.append(head)
                connection.requests += 1
                await self.behave(connection)
        self.open -= 1
        writer.close()


@contextlib.asynccontextmanager
async def running(address: str = "127.0.0.1") -> AsyncIterator[Worker]:
    worker = Worker()
    server = await asyncio.start_server(worker.serve, address, 0, limit=2**26)
    worker.endpoint = Endpoint(address, server.sockets[0].getsockname()[1])
    async with server:
        yield worker
        server.close()
        await until(lambda: worker.open == 0, within_s=10)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with running() as worker:
        yield worker


@pytest.fixture
def bounds() -> Bounds:
    return DEFAULT


@pytest.fixture
async def client(worker: Worker, bounds: Bounds) -> AsyncIterator[PrefillClient]:
    del worker  # it ends after the client, whose kept connections it waits for
    async with prefill_client(bounds) as client:
        yield client


async def sent(
    client: PrefillClient, to: Endpoint, body: bytes = b"{}", *, timeout_s: float = 60.0, **headers: str
) -> PrefillAnswer | PrefillFailed:
    return await client.post(to, PATH, JSON | headers, body, timeout_s=timeout_s)


async def answered(client: PrefillClient, to: Endpoint, body: bytes = b"{}", **headers: str) -> PrefillAnswer:
    outcome = await sent(client, to, body, **headers)
    assert isinstance(outcome, PrefillAnswer), outcome
    return outcome


async def failed(client: PrefillClient, to: Endpoint, *, timeout_s: float = 60.0) -> PrefillFailed:
    outcome = await sent(client, to, timeout_s=timeout_s)
    assert isinstance(outcome, PrefillFailed), outcome
    assert str(to) in outcome.sentence
    return outcome


@pytest.mark.parametrize("status", ["200 OK", "307 Temporary Redirect", "404 Not Found", "500 Oh", "503 Busy"])
async def test_an_answer_is_given_as_it_is_whatever_its_status(
    worker: Worker, client: PrefillClient, status: str
) -> None:
    async def behave(connection: Connection) -> None:
        await connection.answer(b"its words", "location: /elsewhere", "set-cookie: a=b", status=status)

    worker.behave = behave
    for _ in range(2):
        answer = await answered(client, worker.endpoint, b'{"max_tokens": 1}')
        assert (answer.status, answer.body) == (int(status[:3]), b"its words")
        assert answer.took_s >= 0
    assert worker.bodies == [b'{"max_tokens": 1}'] * 2
    assert worker.heads[0].startswith("POST /v1/chat/completions?a=b HTTP/1.1\r\n")
    assert "cookie" not in worker.heads[1].lower()


async def test_headers_of_the_client_are_passed_but_those_of_its_connection_and_body(
    worker: Worker, client: PrefillClient
) -> None:
    theirs = {"authorization": "Bearer x", ":path": "/a", "content-length": "999", "host": "x", "connection": "close"}
    await answered(client, worker.endpoint, **theirs, **{"transfer-encoding": "chunked", "accept-encoding": "gzip"})
    lines = worker.heads[0].lower().strip().split("\r\n")[1:]
    assert dict(line.split(": ", 1) for line in lines) == {
        "host": str(worker.endpoint),
        "content-length": "2",
        "content-type": "application/json",
        "authorization": "bearer x",
        "accept-encoding": "identity",
    }
    assert len(lines) == 5


async def test_legs_one_after_another_share_a_connection(worker: Worker, client: PrefillClient) -> None:
    for _ in range(20):
        await answered(client, worker.endpoint)
    assert (worker.opened, len(worker.heads)) == (1, 20)


@pytest.mark.parametrize("bounds", [Bounds(per_endpoint=3)])
async def test_connections_to_a_worker_are_bounded_and_legs_wait_for_one(worker: Worker, client: PrefillClient) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(answered(client, worker.endpoint))
    assert worker.opened <= 3
    assert len(worker.heads) == 12


@pytest.mark.parametrize("bounds", [Bounds(per_endpoint=1)])
async def test_a_leg_that_waits_for_a_connection_keeps_its_own_time(worker: Worker, client: PrefillClient) -> None:
    worker.behave = Connection.until_left
    first = asyncio.create_task(sent(client, worker.endpoint))
    await until(lambda: worker.heads)
    assert (await failed(client, worker.endpoint, timeout_s=0.2)).why == "timeout"
    first.cancel()


async def test_idle_connections_are_closed_by_us_before_a_worker_does(worker: Worker) -> None:
    async with prefill_client(Bounds(idle_s=0.1)) as client:
        await answered(client, worker.endpoint)
        await until(lambda: worker.open == 0, within_s=10)


async def test_a_large_body_comes_whole(worker: Worker, client: PrefillClient) -> None:
    body = bytes(number % 251 for number in range(3_000_000))
    await answered(client, worker.endpoint, body)
    assert worker.bodies == [body]


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"])
async def test_a_caller_that_is_cancelled_is_seen_to_leave_and_others_are_not(
    worker: Worker, client: PrefillClient, said: bytes
) -> None:
    async def behave(connection: Connection) -> None:
        await connection.say(said)
        await connection.until_left()

    worker.behave = behave
    leaving, staying = [asyncio.create_task(sent(client, worker.endpoint)) for _ in range(2)]
    await until(lambda: len(worker.heads) == 2)
    leaving.cancel()
    await until(lambda: worker.open == 1, within_s=2)
    assert not staying.done()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    staying.cancel()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"])
async def test_a_worker_that_hangs_is_left_in_time(worker: Worker, client: PrefillClient, said: bytes) -> None:
    async def behave(connection: Connection) -> None:
        await connection.say(said)
        await connection.until_left()

    worker.behave = behave
    assert (await failed(client, worker.endpoint, timeout_s=0.3)).why == "timeout"
    await until(lambda: worker.open == 0)


async def test_a_worker_that_drips_is_left_in_time(worker: Worker, client: PrefillClient) -> None:
    async def behave(connection: Connection) -> None:
        await connection.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            await connection.say(b"x")
            await asyncio.sleep(0.01)

    worker.behave = behave
    assert (await failed(client, worker.endpoint, timeout_s=0.5)).why == "timeout"


def leaving(way: str, *, from_request: int, most: int = 1) -> Behaviour:
    """Leave without an answer at that request of a connection, so many times."""
    times = 0

    async def behave(connection: Connection) -> None:
        nonlocal times
        if connection.requests < from_request or times == most:
            await connection.answer(b"ok")
            return
        times += 1
        if way == "reset":
            connection.reset()
        else:
            connection.writer.close()

    return behave


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_kept_connection_that_the_worker_closes_just_then_is_replaced_once(
    worker: Worker, client: PrefillClient, way: str
) -> None:
    worker.behave = leaving(way, from_request=2)
    for body in (b"1", b"2"):
        assert (await answered(client, worker.endpoint, body)).body == b"ok"
    assert (worker.opened, worker.bodies) == (2, [b"1", b"2", b"2"])


async def test_a_leg_whose_connection_was_closed_takes_no_other_kept_one(worker: Worker, client: PrefillClient) -> None:
    async def together(connection: Connection) -> None:
        await until(lambda: len(worker.heads) == 2)
        await connection.answer(b"ok")

    worker.behave = together
    await asyncio.gather(*(answered(client, worker.endpoint) for _ in range(2)))
    worker.behave = leaving("close", from_request=2, most=2)
    await answered(client, worker.endpoint)
    assert (worker.opened, len(worker.heads)) == (3, 4)


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_worker_that_closes_a_new_connection_is_not_asked_again(
    worker: Worker, client: PrefillClient, way: str
) -> None:
    worker.behave = leaving(way, from_request=1)
    assert (await failed(client, worker.endpoint)).why == "broken"
    assert len(worker.heads) == 1


async def test_a_leg_is_repeated_once_at_most(worker: Worker, client: PrefillClient) -> None:
    await answered(client, worker.endpoint)
    worker.behave = leaving("close", from_request=1, most=2)
    assert (await failed(client, worker.endpoint)).why == "broken"
    assert len(worker.heads) == 3


async def test_a_connection_that_a_worker_says_it_closes_is_not_used_again(
    worker: Worker, client: PrefillClient
) -> None:
    async def behave(connection: Connection) -> None:
        await connection.answer(b"ok", "connection: close")
        connection.writer.close()

    worker.behave = behave
    for _ in range(3):
        await answered(client, worker.endpoint)
    assert (worker.opened, len(worker.heads)) == (3, 3)


@pytest.mark.parametrize("bounds", [Bounds(answer_bytes=1000)])
@pytest.mark.parametrize("is_chunked", [True, False])
async def test_answers_are_bounded(worker: Worker, client: PrefillClient, is_chunked: bool) -> None:  # noqa: FBT001
    async def behave(connection: Connection) -> None:
        size = int(worker.bodies[-1])
        if is_chunked:
            await connection.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(size):
                await connection.say(b"1\r\nx\r\n")
            await connection.say(b"0\r\n\r\n")
        else:
            await connection.answer(b"x" * size)

    worker.behave = behave
    assert (await answered(client, worker.endpoint, b"1000")).body == b"x" * 1000
    outcome = await sent(client, worker.endpoint, b"1001")
    assert isinstance(outcome, PrefillFailed)
    assert outcome.why == "too_large"
    assert (await answered(client, worker.endpoint, b"10")).body == b"x" * 10


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnone",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_whole_answer_is_broken(worker: Worker, client: PrefillClient, said: bytes) -> None:
    async def behave(connection: Connection) -> None:
        await connection.say(said)
        connection.writer.close()

    worker.behave = behave
    assert (await failed(client, worker.endpoint)).why == "broken"


async def test_an_answer_is_not_decompressed(worker: Worker, client: PrefillClient) -> None:
    squeezed = gzip.compress(b"x" * 10_000_000)

    async def behave(connection: Connection) -> None:
        await connection.answer(squeezed, "content-encoding: gzip")

    worker.behave = behave
    assert (await answered(client, worker.endpoint)).body == squeezed


async def test_a_worker_that_is_not_there_refuses(client: PrefillClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = Endpoint("127.0.0.1", taken.getsockname()[1])
    assert (await failed(client, gone)).why == "refused"


@pytest.mark.parametrize("bounds", [Bounds(connect_s=0.2)])
async def test_a_worker_that_takes_no_connections_refuses_long_before_the_leg_is_over(client: PrefillClient) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        endpoint = Endpoint("127.0.0.1", full.getsockname()[1])
        with contextlib.ExitStack() as waiting:
            for _ in range(4):
                knocking = waiting.enter_context(socket.socket())
                knocking.setblocking(False)
                knocking.connect_ex(full.getsockname())
            assert (await failed(client, endpoint, timeout_s=3.0)).why == "refused"


@pytest.mark.skipif(bool(no_network_reason()), reason=no_network_reason() or "")
async def test_a_worker_whose_machine_is_gone_is_noticed_long_before_the_leg_is_over() -> None:
    """Nothing of it comes any more, no end and no reset."""
    with Network() as network, network.inside():
        async with running() as worker, prefill_client() as client:
            noticed = asyncio.Event()

            async def silent(_connection: Connection) -> None:
                await noticed.wait()
                raise ConnectionResetError

            worker.behave = silent
            leg = asyncio.create_task(failed(client, worker.endpoint))
            await until(lambda: worker.heads)
            ip("link set lo down")
            assert (await leg).why == "broken"
            noticed.set()


async def test_addresses_of_ip_6_are_served() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with running("::1") as worker, prefill_client() as client:
        assert (await answered(client, worker.endpoint)).body == b"ok"
        assert f"host: [::1]:{worker.endpoint.port}" in worker.heads[0].lower()


async def test_no_proxy_of_the_environment_is_asked(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with prefill_client() as client:
        assert (await answered(client, worker.endpoint)).status == 200


@pytest.mark.parametrize("legs", [1, 2])
async def test_legs_that_are_under_way_when_the_client_ends_are_broken_off(worker: Worker, legs: int) -> None:
    async with prefill_client() as client:
        for _ in range(legs - 1):
            await answered(client, worker.endpoint)
        worker.behave = Connection.until_left
        leg = asyncio.create_task(failed(client, worker.endpoint))
        await until(lambda: len(worker.heads) == legs)
    assert (await leg).why == "broken"
