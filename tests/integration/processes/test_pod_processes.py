import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from argosy.api.containers import (
    Container,
    ContainerPort,
    EnvVar,
    EnvVarSource,
    FieldRef,
    HTTPGetAction,
    Probe,
    TCPSocketAction,
)
from harness.running_pod import PORT, Running
from harness.waiting import until

CHILD = Path(__file__).with_name("child_server.py")
READINESS = Probe(http_get=HTTPGetAction(path="/ready", port="http"), period_seconds=1, failure_threshold=1)
LIVENESS = Probe(http_get=HTTPGetAction(path="/live", port=PORT), period_seconds=1, failure_threshold=2)
ADDRESS = EnvVar(name="POD_IP", value_from=EnvVarSource(field_ref=FieldRef(field_path="status.podIP")))
SERVER = Container(
    name="server",
    image="child:1",
    env=(ADDRESS,),
    args=(str(CHILD), "$(POD_IP)", str(PORT), "$(FOLDER)"),
    ports=(ContainerPort(name="http", container_port=PORT),),
    readiness_probe=READINESS,
)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_a_pod_is_pending_then_running_then_ready_and_says_why_at_each_step(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    (tmp_path / "unready").touch()
    running = start(SERVER)
    await until(lambda: "answered 503: warming up" in running.why)
    assert not running.ready
    (tmp_path / "unready").unlink()
    await until(lambda: running.ready)
    phases = [status.phase for status in running.statuses]
    assert (phases[0], phases[-1]) == ("Pending", "Running")
    last = running.statuses[-1]
    assert last.pod_ip == running.address
    assert last.container_statuses[0].state["running"]["pid"] == running.pid
    assert last.container_statuses[0].image == "child:1"
    assert all(before != after for before, after in zip(running.statuses, running.statuses[1:], strict=False))
    (tmp_path / "unready").touch()
    await until(lambda: not running.ready)
    (tmp_path / "unready").unlink()
    await until(lambda: running.ready)
    assert running.restarts == 0


async def test_a_killed_process_is_started_again_at_once_and_the_status_tells(start: Callable[..., Running]) -> None:
    running = start(SERVER)
    await until(lambda: running.ready)
    first = running.pid
    os.kill(first or 0, signal.SIGKILL)
    await until(lambda: running.ready and running.pid not in (None, first))
    status = running.statuses[-1].container_statuses[0]
    assert status.restart_count == 1
    ended = status.last_state["terminated"]
    assert (ended["exitCode"], ended["signal"]) == (137, 9)
    assert "killed by signal 9 (SIGKILL)" in ended["message"]
    assert "serving" in ended["message"]


async def test_a_process_that_ends_again_and_again_waits_longer_and_says_so(start: Callable[..., Running]) -> None:
    failing = msgspec.structs.replace(SERVER, args=("-c", "print('no weights here'); raise SystemExit(3)"))
    running = start(failing)
    await until(lambda: running.restarts >= 3)
    waits = [
        status.container_statuses[0].state["waiting"]
        for status in running.statuses
        if status.container_statuses[0].state.get("waiting", {}).get("reason") == "CrashLoopBackOff"
    ]
    assert [wait["message"].partition(" s ")[0] for wait in waits[:2]] == ["it starts again 0.5", "it starts again 1"]
    assert all("exit code 3" in wait["message"] and "no weights here" in wait["message"] for wait in waits)


async def test_a_process_that_fails_its_liveness_probe_is_replaced(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    running = start(msgspec.structs.replace(SERVER, liveness_probe=LIVENESS))
    await until(lambda: running.ready)
    first = running.pid
    (tmp_path / "dead").touch()
    await until((tmp_path / "term-seen").exists)
    (tmp_path / "dead").unlink()
    await until(lambda: running.ready and running.pid not in (None, first))
    assert not alive(first or 0)
    assert "liveness probe failed" in running.statuses[-1].container_statuses[0].last_state["terminated"]["message"]


async def test_a_pod_without_probes_is_ready_when_it_runs(start: Callable[..., Running]) -> None:
    running = start(msgspec.structs.replace(SERVER, readiness_probe=None))
    await until(lambda: running.ready)
    assert running.statuses[-1].container_statuses[0].started


async def test_readiness_waits_for_the_startup_probe_and_a_failed_one_restarts(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    (tmp_path / "unready").touch()
    startup = Probe(http_get=HTTPGetAction(path="/ready", port=PORT), period_seconds=1, failure_threshold=2)
    tcp = Probe(tcp_socket=TCPSocketAction(port="http"), period_seconds=1)
    running = start(msgspec.structs.replace(SERVER, startup_probe=startup, readiness_probe=tcp))
    await until(lambda: running.restarts >= 1)
    assert not any(status.conditions[1].status == "True" for status in running.statuses)
    (tmp_path / "unready").unlink()
    await until(lambda: running.ready)


async def test_stopping_lets_a_running_answer_finish_and_is_unready_first(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    running = start(SERVER)
    await until(lambda: running.ready)
    answer = asyncio.create_task(running.get("/slow"))
    await until((tmp_path / "slow-begun").exists)
    stop = asyncio.create_task(running.pod.stop())
    await until((tmp_path / "term-seen").exists)
    assert not running.ready
    assert not stop.done()
    (tmp_path / "slow-go").touch()
    async with asyncio.timeout(10):
        assert await answer == "done"
        await stop
        await running.task
    assert running.statuses[-1].phase == "Succeeded"
    assert "ended" in running.pod.log_of("server").tail()


async def test_what_ignores_sigterm_is_killed_after_the_grace(start: Callable[..., Running]) -> None:
    running = start(msgspec.structs.replace(SERVER, args=(*SERVER.args, "ignore-term")))
    await until(lambda: running.ready)
    pid = running.pid
    async with asyncio.timeout(10):
        await running.pod.stop(grace_s=0.1)
    assert not alive(pid or 0)
    assert running.statuses[-1].phase == "Failed"


async def test_grandchildren_end_with_the_child(start: Callable[..., Running], tmp_path: Path) -> None:
    script = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'grandchild')!r}).write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    running = start(msgspec.structs.replace(SERVER, args=("-c", script), readiness_probe=None))
    await until(lambda: (tmp_path / "grandchild").exists() and (tmp_path / "grandchild").read_text())
    grandchild = int((tmp_path / "grandchild").read_text())
    os.kill(running.pid or 0, signal.SIGKILL)
    await until(lambda: not alive(grandchild))


async def test_cancelling_kills_at_once(start: Callable[..., Running]) -> None:
    running = start(msgspec.structs.replace(SERVER, args=(*SERVER.args, "ignore-term")))
    await until(lambda: running.ready)
    pid = running.pid
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    assert not alive(pid or 0)
    running.task = asyncio.create_task(asyncio.sleep(0))


async def test_two_containers_share_the_address_and_both_must_be_ready(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    plain = Container(name="plain", image="child", args=("-c", "import time; print('up', flush=True); time.sleep(600)"))
    running = start(SERVER, plain)
    await until(lambda: running.ready)
    assert [status.name for status in running.statuses[-1].container_statuses] == ["server", "plain"]
    assert (tmp_path / "pod.server.log").exists()
    assert (tmp_path / "pod.plain.log").exists()
    (tmp_path / "unready").touch()
    await until(lambda: not running.ready)
    assert "container server" in running.why
    assert "plain" not in running.why


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        (msgspec.structs.replace(SERVER, image="unknown/engine:2"), "no program of this machine stands for image"),
        (
            msgspec.structs.replace(
                SERVER, env=(EnvVar(name="X", value_from=EnvVarSource(field_ref=FieldRef(field_path="spec.x"))),)
            ),
            "variable X",
        ),
        (msgspec.structs.replace(SERVER, command=("/no/such/program",)), "there is no such program"),
    ],
)
async def test_what_cannot_run_waits_and_says_why(
    start: Callable[..., Running], container: Container, sentence: str
) -> None:
    running = start(container)
    await until(lambda: sentence in running.why)
    assert not running.ready


async def test_a_log_that_grows_too_large_is_bounded_while_the_child_writes(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    running = start(SERVER, max_log_bytes=50_000)
    await until(lambda: running.ready)
    await running.get("/noise")
    log = tmp_path / "pod.log"
    await until(lambda: (tmp_path / "pod.log.1").exists() and log.stat().st_size <= 50_000)
    await running.get("/noise")
    assert log.read_text().startswith("noise")


async def test_stopping_before_the_start_and_twice_is_no_error(tmp_path: Path) -> None:
    running = Running(SERVER, folder=tmp_path)
    await running.pod.stop()
    await running.pod.stop()
    await running.task
    assert running.statuses == []
