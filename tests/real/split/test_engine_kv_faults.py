"""Whatever goes wrong with a KV cache on its way, the answer is right: it is computed where it is given."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from argosy.apps.engine.kv_header import Header, encode_header
from argosy.edge.transfer.wire import MAGIC, reply
from harness.engine import ENGINE, WEIGHTS, Engine
from harness.kv import (
    BYTES,
    EXPIRED,
    FAILED,
    HELD,
    KV_PORT,
    NOT_HELD,
    PATH,
    SOURCE,
    answered,
    gained,
    greedy,
    kv_engine,
    prefill,
    pulled,
    relay,
    scripted_sender,
    tiny_memory,
    told,
)
from harness.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKENS = 60
Pair = tuple[Engine, Engine]


def _body(seed: int, tokens: int = TOKENS) -> dict[str, Any]:
    return greedy([(11 * place + 97 * seed) % 4000 + 300 for place in range(tokens)])


async def _plain(engine: Engine, body: dict[str, Any]) -> str:
    """The answer that is right: on this engine, with the prompt in its cache."""
    await answered(engine, body, max_tokens=1)
    text, cached = await answered(engine, body)
    assert cached == len(body["prompt"]) - 1
    return text


async def _assert_recomputed(
    first: Engine, second: Engine, body: dict[str, Any], parameters: dict[str, Any], why: str
) -> None:
    """The second engine answers rightly, says why it computed the prompt, and keeps nothing of the state."""
    before = await second.metrics()
    text, cached, moved = await told(second, body, kv_transfer_params=parameters)
    assert moved == why
    grown = gained(before, await second.metrics())
    assert cached == 0
    assert grown[FAILED] == 1
    assert grown[SOURCE % "local_compute"] == len(body["prompt"])
    assert SOURCE % "external_kv_transfer" not in grown
    assert (await second.metrics())[BYTES] == 0
    # In one pass and from a cache sums differ in their last bits, so the right text is that of one pass.
    status, plain = await first.post(PATH, body | {"cache_prompt": False})
    assert status == 200
    assert text == plain["choices"][0]["text"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Two engines that share no folder, as if on two machines."""
    folders = [str(tmp_path_factory.mktemp("kv")) for _ in range(2)]
    async with kv_engine("--kv-folder", folders[0]) as first, kv_engine("--kv-folder", folders[1]) as second:
        yield first, second


def _flipped(header: Header, state: bytes) -> tuple[Header, bytes]:
    return header, state[:-1000] + bytes([state[-1000] ^ 1]) + state[-999:]


def _named(field: str, value: str) -> Callable[[Header, bytes], tuple[Header, bytes]]:
    def change(header: Header, state: bytes) -> tuple[Header, bytes]:
        identity = msgspec.structs.replace(header.identity, **{field: value})
        return msgspec.structs.replace(header, identity=identity), state

    return change


def _other_tokens(header: Header, state: bytes) -> tuple[Header, bytes]:
    tokens = header.tokens[4:] + header.tokens[:4]
    return msgspec.structs.replace(header, tokens=tokens), state


def _short(header: Header, state: bytes) -> tuple[Header, bytes]:
    return header, state[: len(state) // 2]


def _huge(header: Header, state: bytes) -> tuple[Header, bytes]:
    return msgspec.structs.replace(header, state_bytes=1 << 40), state


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(_short, "cut_off", id="truncated"),
        pytest.param(_flipped, "damaged", id="corrupted"),
        pytest.param(_other_tokens, "damaged", id="wrong tokens"),
        pytest.param(_huge, "differs", id="larger than the context needs"),
        pytest.param(_named("weights", "0" * 32), "differs", id="wrong weights"),
        pytest.param(_named("quantization", "q8_0"), "differs", id="wrong quantization"),
        pytest.param(_named("adapter", "pirate"), "differs", id="wrong adapter"),
        pytest.param(_named("kv_type", "q8_0"), "differs", id="wrong numbers"),
        pytest.param(_named("build", "1"), "differs", id="wrong build"),
    ],
)
async def test_a_state_that_is_not_right_is_not_used(
    pair: Pair, change: Callable[[Header, bytes], tuple[Header, bytes]], why: str, request: pytest.FixtureRequest
) -> None:
    first, second = pair
    body = _body(sum(request.node.name.encode()))
    parameters = await prefill(first, body)
    header, state = change(*await pulled(parameters))
    async with scripted_sender(reply(encode_header(header)), state) as where:
        await _assert_recomputed(first, second, body, parameters | {"remote_host": where}, why)


async def test_a_state_that_is_right_is_used_wherever_it_comes_from(pair: Pair) -> None:
    first, second = pair
    body = _body(1)
    parameters = await prefill(first, body)
    header, state = await pulled(parameters)
    async with scripted_sender(reply(encode_header(header)), state) as where:
        text, cached = await answered(second, body, kv_transfer_params=parameters | {"remote_host": where})
    assert cached == TOKENS - 1
    assert text == await _plain(first, body)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "cut_off"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "differs"),
        (MAGIC + b"\x02" + reply(b"x")[9:], "differs"),
        (reply(b""), "gone"),
        (reply(b"no header"), "damaged"),
        (reply(b"")[:9] + b"\xff\xff\xff\xff", "differs"),
    ],
    ids=["nothing", "another protocol", "another version", "no such state", "a broken header", "a huge header"],
)
async def test_a_peer_that_speaks_wrongly_is_not_believed(pair: Pair, said: bytes, why: str) -> None:
    first, second = pair
    body = _body(1000 + len(said) + sum(said))
    parameters = await prefill(first, body)
    await pulled(parameters)
    async with scripted_sender(said) as where:
        await _assert_recomputed(first, second, body, parameters | {"remote_host": where}, why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"remote_request_id": "0" * 32}, "gone"),
        ({"remote_request_id": "../../../../etc/passwd"}, "refused"),
        ({"remote_host": "localhost"}, "refused"),
        ({"remote_host": "0.0.0.0"}, "refused"),
        ({"remote_host": None}, "refused"),
        ({"remote_port": 22}, "refused"),
        ({"remote_host": "127.64.255.254"}, "unreachable"),
    ],
    ids=str,
)
async def test_parameters_that_lead_nowhere_cost_only_time(pair: Pair, change: dict[str, Any], why: str) -> None:
    first, second = pair
    body = _body(2000 + sum(str(change).encode()))
    parameters = await prefill(first, body)
    await _assert_recomputed(first, second, body, parameters | change, why)
    await pulled(parameters)


async def test_only_engines_ports_are_called(pair: Pair) -> None:
    first, second = pair
    body = _body(3)
    called = asyncio.Event()

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        parameters = {"do_remote_prefill": True, "remote_host": "127.0.0.1", "remote_port": port}
        await _assert_recomputed(first, second, body, parameters | {"remote_request_id": "0" * 32}, "refused")
    assert not called.is_set()


async def test_the_state_of_another_prompt_gives_the_right_text(pair: Pair) -> None:
    first, second = pair
    other, body = _body(4), _body(5)
    body["prompt"][:20] = other["prompt"][:20]
    parameters = await prefill(first, other)
    text, cached, moved = await told(second, body, kv_transfer_params=parameters)
    assert (cached, moved) == (20, "20")
    await answered(first, other, max_tokens=1)
    assert (text, 20) == await answered(first, body)


async def test_a_state_is_pulled_once_and_whoever_comes_later_computes(pair: Pair) -> None:
    first, second = pair
    body = _body(6)
    parameters = await prefill(first, body)
    assert (await answered(second, body, kv_transfer_params=parameters))[1] == TOKENS - 1
    other = _body(7)
    await _assert_recomputed(first, second, other, parameters, "gone")


async def test_a_prefill_must_not_be_streamed(pair: Pair) -> None:
    body = _body(8) | {"stream": True, "kv_transfer_params": {"do_remote_decode": True}}
    status, answer = await pair[0].post(PATH, body)
    assert status == 400
    assert "stream" in answer["error"]["message"]


async def test_a_connection_that_is_cut_frees_the_state_at_once_and_the_prompt_is_computed(pair: Pair) -> None:
    first, second = pair
    body = _body(9)
    parameters = await prefill(first, body)
    before = await second.metrics()
    async with relay(first, limit_bytes=1_000_000) as between:
        parameters |= {"remote_host": between.address}
        answer = asyncio.create_task(answered(second, body, kv_transfer_params=parameters))
        await between.stalls.wait()
        assert (await first.metrics())[HELD] == 1
        between.cut()
        assert (await answer)[1] == 0
    assert gained(before, await second.metrics())[FAILED] == 1
    await until(lambda: _holds(first, 0))
    assert EXPIRED not in gained({}, await first.metrics())


async def test_a_client_that_leaves_during_a_pull_gives_slot_and_state_back(pair: Pair) -> None:
    first, second = pair
    body = _body(10)
    parameters = await prefill(first, body)
    async with relay(first, limit_bytes=1_000_000) as between:
        leaver = asyncio.create_task(
            answered(second, body, kv_transfer_params=parameters | {"remote_host": between.address})
        )
        await between.stalls.wait()
        await second.until_load(running=1)
        leaver.cancel()
        await second.until_load(running=0)
        await until(lambda: _holds(first, 0))
    assert (await second.metrics())[BYTES] == 0


async def test_a_sender_killed_during_a_pull_costs_only_time(pair: Pair, tmp_path: Path) -> None:
    first, second = pair
    body = _body(11, 250)
    async with kv_engine("--kv-folder", str(tmp_path)) as victim, relay(victim, limit_bytes=1_000_000) as between:
        parameters = await prefill(victim, body)
        answer = asyncio.create_task(
            _assert_recomputed(first, second, body, parameters | {"remote_host": between.address}, "cut_off")
        )
        await between.stalls.wait()
        victim.process.kill()
        await victim.process.wait()
        between.goes_on.set()
        await answer


async def test_a_receiver_killed_during_a_pull_frees_the_state(pair: Pair, tmp_path: Path) -> None:
    first, _ = pair
    body = _body(12)
    async with kv_engine("--kv-folder", str(tmp_path)) as victim, relay(first, limit_bytes=1_000_000) as between:
        parameters = await prefill(first, body) | {"remote_host": between.address}
        answer = asyncio.create_task(victim.post(PATH, body | {"kv_transfer_params": parameters}))
        await between.stalls.wait()
        victim.process.kill()
        await asyncio.gather(answer, return_exceptions=True)
        await until(lambda: _holds(first, 0))
    assert (await first.metrics())[BYTES] == 0


async def test_a_state_that_nobody_pulls_is_freed_by_its_deadline(pair: Pair, tmp_path: Path) -> None:
    _, second = pair
    async with kv_engine("--kv-folder", str(tmp_path), "--kv-deadline", "1") as first:
        body = _body(13)
        parameters = await prefill(first, body)
        await until(lambda: _holds(first, 0))
        now = await first.metrics()
        assert (now[EXPIRED], now[BYTES]) == (1, 0)
        assert _files(tmp_path, "*/*") == {"llama.sock"}
        await _assert_recomputed(first, second, body, parameters, "gone")


async def test_states_take_no_more_room_than_they_are_given(tmp_path: Path) -> None:
    async with kv_engine("--kv-folder", str(tmp_path), parallel=1) as engine:
        await prefill(engine, _body(14))
        status, answer = await engine.post(PATH, _body(15) | {"kv_transfer_params": {"do_remote_decode": True}})
        assert status == 200
        assert "kv_transfer_params" not in answer
        now = await engine.metrics()
        assert (now[HELD], now[NOT_HELD]) == (1, 1)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare here")
async def test_full_memory_costs_only_time_on_either_side(pair: Pair, tmp_path: Path) -> None:
    first, _ = pair
    async with kv_engine("--kv-folder", str(tmp_path), within=tiny_memory(tmp_path)) as tiny:
        small, large = _body(16, 50), _body(17, 200)
        assert "remote_host" in await prefill(tiny, small)
        status, answer = await tiny.post(PATH, large | {"kv_transfer_params": {"do_remote_decode": True}})
        assert status == 200
        assert "kv_transfer_params" not in answer
        assert (await tiny.metrics())[NOT_HELD] == 1
        body = _body(18, 200)
        before = await tiny.metrics()
        text, cached, moved = await told(tiny, body, kv_transfer_params=await prefill(first, body))
        assert (cached, moved) == (0, "no_room")
        assert gained(before, await tiny.metrics())[FAILED] == 1
        status, plain = await first.post(PATH, body | {"cache_prompt": False})
        assert text == plain["choices"][0]["text"]
        await until(lambda: _holds(first, 0))
        # What it has room for still comes.
        assert (await answered(tiny, small, kv_transfer_params=await prefill(first, small)))[1] == 49


async def test_a_drain_serves_pulls_and_ends_with_the_last_one(pair: Pair, tmp_path: Path) -> None:
    _, second = pair
    async with kv_engine("--kv-folder", str(tmp_path)) as first:
        bodies = [_body(19, 40), _body(20, 40)]
        parameters = [await prefill(first, body) for body in bodies]
        first.terminate()
        await first.until_ready(ready=False)
        for body, place in zip(bodies, parameters, strict=True):
            assert first.process.returncode is None
            assert (await answered(second, body, kv_transfer_params=place))[1] == 39
        async with asyncio.timeout(10):
            assert await first.process.wait() == 0
    assert _files(tmp_path) == set()


@pytest.mark.parametrize("how", ["deadline", "second signal"])
async def test_a_drain_does_not_wait_for_ever_for_a_pull(how: str, tmp_path: Path) -> None:
    deadline_s = "2" if how == "deadline" else "100"
    async with kv_engine("--kv-folder", str(tmp_path), "--kv-deadline", deadline_s) as engine:
        await prefill(engine, _body(21, 40))
        engine.terminate()
        await engine.until_ready(ready=False)
        assert engine.process.returncode is None
        if how == "second signal":
            engine.terminate()
        async with asyncio.timeout(20):
            assert await engine.process.wait() == 0
    assert _files(tmp_path) == set()


async def test_what_a_killed_engine_leaves_is_removed_by_the_next_one(tmp_path: Path) -> None:
    async with kv_engine("--kv-folder", str(tmp_path)) as killed:
        await prefill(killed, _body(22, 40))
        left = _files(tmp_path)
        killed.process.kill()
        await killed.process.wait()
    async with kv_engine("--kv-folder", str(tmp_path)), kv_engine("--kv-folder", str(tmp_path)):
        found = _files(tmp_path)
        assert len(found) == 2
        assert not left & found


async def test_an_engine_without_a_kv_port_computes_and_says_nothing(pair: Pair) -> None:
    first, _ = pair
    async with Engine.started() as plain:
        body = _body(23, 40)
        status, answer = await plain.post(PATH, body | {"kv_transfer_params": {"do_remote_decode": True}})
        assert status == 200
        assert "kv_transfer_params" not in answer
        other = _body(24, 40)
        assert (await answered(plain, other, kv_transfer_params=await prefill(first, other)))[1] == 0


def _files(folder: Path, pattern: str = "*") -> set[str]:
    return {path.name for path in folder.glob(pattern)}


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
async def test_an_address_that_nobody_can_be_told_ends_it_with_2_and_a_reason(host: str) -> None:
    words = [*ENGINE, "--model=m", f"--weights={WEIGHTS}", "--host", host, "--port=0", f"--kv-port={KV_PORT}"]
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"name an IP address of this one's own" in said


async def _holds(engine: Engine, states: int) -> bool:
    return (await engine.metrics())[HELD] == states
