"""Which pods a name means, and what is read of their logs."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from argosy.api.containers import Container
from argosy.api.kubernetes import ContainerStatus, Pod, PodSpec, PodStatus
from argosy.api.names import COMPONENT, SERVICE_LABEL, WORKERS_LABEL
from argosy.api.objects import ObjectMeta, encode
from argosy.apps.fleet import logs
from argosy.apps.fleet.fleet import Fleet, open_cluster
from argosy.apps.fleet.logs import Line, chosen, list_pods, show_logs
from argosy.base.errors import CallerError
from argosy.edge.http.pages import DirectPages
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.pod_proxy import LogOptions
from harness.api_answers import answering_api


def pod(name: str, namespace: str = "default", *, restarts: int = 0, **labels: str) -> Pod:
    names = {"service": SERVICE_LABEL, "component": COMPONENT, "workers": WORKERS_LABEL}
    status = ContainerStatus(name="c", ready=True, restart_count=restarts)
    return Pod(
        metadata=ObjectMeta(
            name=name, namespace=namespace, uid=f"uid-of-{name}", labels={names[k]: v for k, v in labels.items()}
        ),
        spec=PodSpec(containers=(Container(name="c", image="i"),)),
        status=PodStatus(container_statuses=(status,)),
    )


PODS = (
    pod("a-1", service="a"),
    pod("a-2", service="a"),
    pod("a-1", "team", service="a"),
    pod("stranger"),
    pod("s-prefill-x", service="s", workers="prefill"),
    pod("s-decode-x", service="s", workers="decode"),
    pod("argosy-envoy-1", "argosy-system", component="envoy"),
    pod("argosy-picker-1", "argosy-system", component="picker"),
    pod("envoy", service="envoy"),
)


@pytest.mark.parametrize(
    ("name", "namespace", "found"),
    [
        ("a", "default", ["default/a-1", "default/a-2"]),
        ("a", None, ["default/a-1", "default/a-2", "team/a-1"]),
        ("team/a", "default", ["team/a-1"]),
        ("a-1", "default", ["default/a-1"]),
        ("picker", "default", ["argosy-system/argosy-picker-1"]),
        ("argosy-picker-1", "default", ["argosy-system/argosy-picker-1"]),
        ("envoy", "team", ["argosy-system/argosy-envoy-1"]),
        ("stranger", "default", ["default/stranger"]),
        ("nobody", "default", []),
        ("s", "default", ["default/s-decode-x", "default/s-prefill-x"]),
        ("s-prefill", "default", ["default/s-prefill-x"]),
        (None, "team", ["argosy-system/argosy-envoy-1", "argosy-system/argosy-picker-1", "team/a-1"]),
    ],
)
def test_a_name_is_a_pod_a_service_or_a_component(name: str | None, namespace: str | None, found: list[str]) -> None:
    assert [str(each.key) for each in chosen(PODS, name, namespace)] == found


class Kubelet:
    """Answers for the logs of pods, as an API server does."""

    def __init__(self) -> None:
        self.pods = [pod("a-1", service="a"), pod("a-2", service="a")]
        self.texts = {"a-1": [b"one\ntwo", b" words\n"], "a-2": [b"no end"]}
        self.refused: dict[str, int] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.split("/")
        if parts[-1] != "log":
            items = [] if "argosy-system" in parts else [encode(each) for each in self.pods]
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})
        name = parts[-2]
        self.asked.append((name, dict(request.query)))
        if name in self.refused:
            return web.json_response({"message": "is waiting to start"}, status=self.refused[name])
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in self.texts[name]:
            await response.write(piece)
        return response


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def fleet(kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with (
        answering_api(tmp_path_factory.mktemp("api"), kubelet.answer) as settings,
        open_cluster(settings, namespace="default") as opened,
    ):
        yield opened


async def test_lines_are_whole_however_they_come_and_the_last_one_needs_no_end(fleet: Fleet, kubelet: Kubelet) -> None:
    seen: list[Line] = []
    assert await show_logs(fleet, "a", LogOptions(tail=7), seen.append)
    assert sorted(seen) == [Line("a-1", b"one"), Line("a-1", b"two words"), Line("a-2", b"no end")]
    assert sorted(name for name, _ in kubelet.asked) == ["a-1", "a-2"]
    assert {query["tailLines"] for _, query in kubelet.asked} == {"7"}


async def test_a_pod_without_a_log_is_noted_and_the_others_are_read(fleet: Fleet, kubelet: Kubelet) -> None:
    kubelet.refused = {"a-1": 403}
    seen: list[Line] = []
    assert await show_logs(fleet, "a", LogOptions(tail=7, previous=True), seen.append)
    assert sorted(seen) == [Line("a-1", b"no log: is waiting to start", note=True), Line("a-2", b"no end")]
    assert {query["previous"] for _, query in kubelet.asked} == {"true"}


async def test_following_goes_on_with_containers_that_start_later_and_again(
    fleet: Fleet, kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_AGAIN_S", 0.01)
    kubelet.refused = {"a-2": 400}
    seen: asyncio.Queue[Line] = asyncio.Queue()
    following = asyncio.create_task(show_logs(fleet, "a", LogOptions(tail=0, follow=True), seen.put_nowait))
    async with asyncio.timeout(10):
        first = {await seen.get() for _ in range(3)}
        assert Line("a-2", b"no log: is waiting to start", note=True) in first
        kubelet.refused = {}
        assert await seen.get() == Line("a-2", b"no end")
        kubelet.pods[0] = pod("a-1", service="a", restarts=1)
        assert [(await seen.get()).text for _ in range(2)] == [b"one", b"two words"]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert "tailLines" not in kubelet.asked[-1][1]


async def test_no_pod_is_said_and_a_laptop_has_files() -> None:
    numbers = iter(range(10))
    store = InMemoryStore(now=lambda: "t", new_uid=lambda: str(next(numbers)))
    fleet = Fleet(store=store, pages=DirectPages())
    assert await list_pods(fleet) == ()
    with pytest.raises(CallerError):
        await show_logs(fleet, None, LogOptions(tail=1), lambda _: None)


async def test_nothing_is_read_where_no_pod_has_the_name(fleet: Fleet, kubelet: Kubelet) -> None:
    assert not await show_logs(fleet, "nobody", LogOptions(tail=1, follow=True), lambda _: None)
    assert kubelet.asked == []
