"""The picker's process behind a real Envoy, with small backends in the engines' place."""

import asyncio
import contextlib
import io
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.api.names import MAX_BODY_BYTES
from argosy.base.endpoint import Endpoint
from harness.dataplane import Backend, DataPlane, starting_data_plane
from harness.picker_process import PickerProcess, picker_process
from harness.waiting import until

CHAT = "/v1/chat/completions"
POOL = "default/m"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with starting_data_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
async def backends(plane: DataPlane) -> list[Backend]:
    await plane.publish_model("m")
    return [await plane.add_backend("m") for _ in range(2)]


@pytest.fixture(params=["http2", "grpcio"])
async def picker(
    request: pytest.FixtureRequest, plane: DataPlane, backends: list[Backend], tmp_path: Path
) -> AsyncIterator[PickerProcess]:
    options = ("--transport", request.param)
    async with picker_process(plane.store_address, tmp_path, *options, address=plane.address()) as picker:
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        assert backends
        yield picker


class Answers:
    """Answers that begin at once, go on until they are let go, and say who gives them."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.open: Counter[str] = Counter()

    def by(self, backend: Backend) -> None:
        backend.behave = lambda request: self._stream(request, str(backend.endpoint))

    async def _stream(self, request: web.Request, name: str) -> web.StreamResponse:
        if request.path == "/metrics":
            return web.Response(text=f"vllm:num_requests_running {self.open[name]}\n")
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-served-by": name})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        self.open[name] += 1
        await self.go_on.wait()
        self.open[name] -= 1
        await response.write(b"data: [DONE]\n\n")
        return response


async def streaming(
    group: asyncio.TaskGroup, client: aiohttp.ClientSession, answers: Answers, count: int
) -> list[asyncio.Task[tuple[int, str, bytes]]]:
    """Ask so many times for answers that stream, and wait until all of them have begun."""
    begun = answers.open.total()
    asked = [group.create_task(ask(client, stream=True)) for _ in range(count)]
    await until(lambda: answers.open.total() == begun + count)
    return asked


async def are_whole(asked: list[asyncio.Task[tuple[int, str, bytes]]]) -> bool:
    return {(await task)[::2] for task in asked} == {(200, b"data: first\n\ndata: [DONE]\n\n")}


@pytest.fixture
def answers(backends: list[Backend]) -> Answers:
    """What all backends answer with."""
    answers = Answers()
    for backend in backends:
        answers.by(backend)
    return answers


async def fail_opens(plane: DataPlane) -> int:
    return await plane.stat("http.gateway.ext_proc.failure_mode_allowed")


async def ask(client: aiohttp.ClientSession, **more: Any) -> tuple[int, str, bytes]:
    async with client.post(CHAT, json={"model": "m", **more}) as answer:
        return answer.status, answer.headers.get("x-served-by", ""), await answer.read()


async def post(client: aiohttp.ClientSession, body: bytes) -> int:
    async with client.post(CHAT, data=io.BytesIO(body), headers={"content-type": "application/json"}) as answer:
        await answer.read()
        return answer.status


async def test_every_request_goes_where_it_was_picked_for(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    async with plane.client() as client:
        answers = [await ask(client) for _ in range(10)]
    assert Counter(by for _, by, _ in answers) == {str(backend.endpoint): 5 for backend in backends}
    for backend in backends:
        assert await picker.metric("argosy_picks_total", endpoint=str(backend.endpoint)) == 5
    assert await picker.metric("argosy_served_not_picked_total") == 0
    assert await picker.metric("argosy_fallback_served_total") == 0
    assert await fail_opens(plane) == 0
    await until(lambda: reservations_are(picker, 0))


async def reservations_are(picker: PickerProcess, count: int) -> bool:
    return await picker.metric("argosy_reservations", pool=POOL) == count


async def test_the_engine_gets_the_body_as_it_came_and_no_steering_but_ours(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    body = b'{ "messages": [],\n "model":"m" }'
    evil = {"X-Gateway-Model-Name": "n", "x-gateway-destination-endpoint": "127.0.0.1:1", "x-argosy-pool": "a/b"}
    async with plane.client() as client:
        sent = client.post(CHAT, data=body, headers={"content-type": "application/json", **evil})
        async with sent as answer:
            served_by = answer.headers["x-served-by"]
    backend = next(backend for backend in backends if str(backend.endpoint) == served_by)
    request, received = next(seen for seen in backend.requests if seen[0].path == CHAT)
    assert received == body
    assert request.headers["content-length"] == str(len(body))
    assert request.headers["x-gateway-model-name"] == "m"
    assert request.headers["x-gateway-destination-endpoint"].startswith(served_by)
    assert await picker.metric("argosy_picks_total") == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"hello", 400, "invalid_json"),
        (b'{"model":"m","mod\\u0065l":"n"}', 400, "duplicate_model"),
        (b'{"model":"m","x":"\xff"}', 400, "invalid_utf8"),
        (b'{"model":"nobody"}', 404, "model_not_found"),
    ],
)
async def test_wrong_requests_are_answered_in_the_form_of_openai(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess, body: bytes, status: int, code: str
) -> None:
    async with plane.client() as client:
        async with client.post(CHAT, data=body, headers={"content-type": "application/json"}) as answer:
            assert answer.status == status
            assert answer.content_type == "application/json"
            assert (await answer.json())["error"]["code"] == code
        assert (await ask(client))[0] == 200
    assert all(request.path in (CHAT, "/metrics") for backend in backends for request, _ in backend.requests)
    assert await picker.metric("argosy_refused_total") == 1


async def test_bodies_up_to_the_limit_pass_and_larger_ones_are_413(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    largest = b'{"model": "m"' + b" " * (MAX_BODY_BYTES - 14) + b"}"
    names = {str(backend.endpoint) for backend in backends}
    async with plane.client() as client:
        assert (await post(client, largest), await post(client, largest + b" ")) == (200, 413)
        assert await post(client, b" " * 50_000_000) == 413
        status, by, _ = await ask(client)
        assert (status, by in names) == (200, True)
    assert await picker.metric("argosy_picks_total") == 2


async def test_models_are_listed(plane: DataPlane, picker: PickerProcess) -> None:
    async with plane.client() as client, client.get("/v1/models") as answer:
        assert [model["id"] for model in (await answer.json())["data"]] == ["m"]
    assert await picker.metric("argosy_reservations") == 0


async def test_without_a_ready_replica_it_is_503_with_a_sentence(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    for backend in backends:
        await plane.remove_pod(backend.name)

    async def refused() -> bool:
        async with plane.client() as client, client.post(CHAT, json={"model": "m"}) as answer:
            return (
                answer.status == 503
                and answer.headers.get("x-llm-d-request-dropped-reason") == "rejected-no-endpoints"
                and "`m` has no running replica" in (await answer.json())["error"]["message"]
            )

    await until(refused)
    assert await picker.metric("argosy_refused_total", reason="no_endpoints") >= 1


async def test_a_replica_that_dies_is_done_without_until_it_is_known(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    await backends[0].stop()
    async with plane.client() as client:
        answers = [await ask(client) for _ in range(20)]
    assert Counter((status, by) for status, by, _ in answers) == {(200, str(backends[1].endpoint)): 20}
    fallbacks = await picker.metric("argosy_fallback_served_total", pool=POOL)
    assert 1 <= fallbacks <= 5, "it stands last for a while after it did not answer"
    assert await picker.metric("argosy_served_not_picked_total") == 0


@pytest.mark.parametrize("clients", [1, 16])
async def test_a_replica_that_is_ten_times_slower_gets_at_most_a_fifth_of_the_picks(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess, clients: int
) -> None:
    def take(seconds: float, backend: Backend) -> None:
        async def answer(_request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return web.json_response({}, headers={"x-served-by": str(backend.endpoint)})

        backend.behave = answer

    take(0.02, backends[0])
    take(0.2, backends[1])
    picked: Counter[str] = Counter()
    numbers = itertools.count()

    async def use(client: aiohttp.ClientSession) -> None:
        while next(numbers) < 40 * clients**0.5:
            status, by, _ = await ask(client)
            assert status == 200
            picked[by] += 1

    async with plane.client() as client, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(use(client))
    assert picked[str(backends[1].endpoint)] <= picked.total() / 5, picked
    assert await picker.metric("argosy_served_not_picked_total") == 0


async def test_two_thousand_answers_stream_at_once_each_from_its_pick(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    answers, count = Answers(), 2000
    for backend in backends:
        answers.by(backend)
    served: Counter[str] = Counter()
    # All are open at once; opened at once, they would ask how many picks a second this machine has room for.
    opening = asyncio.Semaphore(50)

    async def stream(client: aiohttp.ClientSession) -> None:
        await opening.acquire()
        async with client.post(CHAT, json={"model": "m", "stream": True}) as answer:
            opening.release()
            assert answer.status == 200, await answer.text()
            served[answer.headers["x-served-by"]] += 1
            assert await answer.read() == b"data: first\n\ndata: [DONE]\n\n"

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(plane.url, connector=connector) as client, asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(stream(client))
        await until(lambda: served.total() == answers.open.total() == count, within_s=60)
        assert await picker.metric("argosy_reservations", pool=POOL) == count
        assert await picker.metric("argosy_ext_proc_streams") == count
        answers.go_on.set()
    await until(lambda: reservations_are(picker, 0), within_s=1)
    for backend in backends:
        name = str(backend.endpoint)
        assert await picker.metric("argosy_picks_total", endpoint=name) == served[name] == count / 2
    assert await picker.metric("argosy_served_not_picked_total") == 0
    assert await picker.metric("argosy_fallback_served_total") == 0
    assert await fail_opens(plane) == 0


async def test_the_picker_killed_harms_no_answer_and_picks_resume_when_it_is_back(
    plane: DataPlane, picker: PickerProcess, answers: Answers
) -> None:
    async with plane.client() as client, asyncio.TaskGroup() as group:
        running = await streaming(group, client, answers, 20)
        await picker.end(signal.SIGKILL)
        unpicked = await streaming(group, client, answers, 5)
        answers.go_on.set()
        assert await are_whole([*running, *unpicked])
        assert await fail_opens(plane) >= 5
        await picker.start()
        await picker.ready()

        async def is_picked() -> bool:
            assert (await ask(client))[0] == 200
            return await picker.metric("argosy_picks_total") > 0

        await until(is_picked)


async def test_the_picker_told_to_end_harms_no_answer(
    plane: DataPlane, picker: PickerProcess, answers: Answers
) -> None:
    async with plane.client() as client, asyncio.TaskGroup() as group:
        running = await streaming(group, client, answers, 20)
        assert await picker.end(signal.SIGTERM) == 0
        answers.go_on.set()
        assert await are_whole(running)
    assert await fail_opens(plane) == 0


async def test_a_client_that_leaves_gives_its_reservation_back(
    plane: DataPlane, picker: PickerProcess, answers: Answers
) -> None:
    async with plane.client() as client:
        leaving = asyncio.create_task(ask(client, stream=True))
        await until(lambda: answers.open.total() == 1)
        assert await reservations_are(picker, 1)
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        await until(lambda: reservations_are(picker, 0), within_s=1)
    answers.go_on.set()


@pytest.mark.parametrize("picker", ["grpcio"], indirect=True)
async def test_streams_longer_than_many_pings_stay_open(
    plane: DataPlane, picker: PickerProcess, answers: Answers
) -> None:
    async with plane.client() as client:
        long = asyncio.create_task(ask(client, stream=True))
        await until(lambda: answers.open.total() == 1)
        # Envoy pings every 5 s; grpcio's default cuts the connection at the third ping.
        ended = asyncio.get_running_loop().time() + 17
        await until(lambda: asyncio.get_running_loop().time() > ended, within_s=30)
        assert await picker.metric("argosy_ext_proc_streams") == 1
        assert await plane.stat("cluster.argosy/pickers.upstream_cx_destroy_remote") == 0
        answers.go_on.set()
        assert (await long)[0] == 200


async def test_each_listener_has_its_own_routes(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    other = await plane.add_backend("other")
    await plane.listen(8080, 8181)
    for name, section in (("m", "on-8080"), ("other", "on-8181")):
        await plane.publish_model(name, model="m", section=section)
    await plane.programmed()
    names = {str(backend.endpoint) for backend in backends}

    async def asked(port: int) -> tuple[int, str]:
        async with aiohttp.ClientSession(f"http://{plane.bind_address}:{port}") as client:
            return (await ask(client))[:2]

    async def is_known() -> bool:
        return await asked(8181) == (200, str(other.endpoint))

    await until(is_known)
    assert [await asked(8181) for _ in range(5)] == [(200, str(other.endpoint))] * 5
    assert {await asked(8080) for _ in range(5)} <= {(200, name) for name in names}
    assert await picker.metric("argosy_picks_total", pool="default/other") >= 5
    assert await picker.metric("argosy_served_not_picked_total") == 0
    assert await fail_opens(plane) == 0


async def test_an_answer_from_where_the_pick_did_not_point_is_counted(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    """Envoy has not heard of the endpoint that the picker names, so it chooses one that it knows."""
    await plane.stop_gateway()
    stranger = await plane.add_backend("m")
    for backend in backends:
        await plane.remove_pod(backend.name)

    async def asked_for_stranger() -> bool:
        async with plane.client() as client:
            status, by, _ = await ask(client)
        assert status == 200
        assert by != str(stranger.endpoint)
        return await picker.metric("argosy_picks_total", endpoint=str(stranger.endpoint)) == 1

    await until(asked_for_stranger)
    assert await picker.metric("argosy_served_not_picked_total", pool=POOL) == 1
    await until(lambda: reservations_are(picker, 0))
