"""Containers in order: before the others, beside them, once or again; and what is asked of them by commands."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from argosy.api.containers import Container, ExecAction, Lifecycle, LifecycleHandler, Probe
from harness.running_pod import Running
from harness.waiting import until

WAITS = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); time.sleep(600)"
Start = Callable[..., Running]


def container(name: str, code: str, **fields: object) -> Container:
    return Container(name=name, image="child", args=("-c", code), **fields)


def shell(text: str) -> ExecAction:
    return ExecAction(command=("sh", "-c", text))


def phase(running: Running) -> str:
    return running.statuses[-1].phase if running.statuses else ""


def writes(path: Path, text: str) -> str:
    return f"open({str(path)!r}, 'a').write({text!r})"


async def test_init_containers_run_one_after_another_and_before_the_others(start: Start, tmp_path: Path) -> None:
    told = tmp_path / "told"
    inits = (
        container("first", f"import time; time.sleep(0.2); {writes(told, '1')}"),
        container("second", writes(told, "2")),
    )
    running = start(container("main", f"{writes(told, '3')}; {WAITS}"), spec={"init_containers": inits})
    await until(lambda: running.ready and told.read_text() == "123")
    pending = [status for status in running.statuses if status.phase == "Pending"]
    assert all("waiting" in status.container_statuses[0].state for status in pending[:-1])


@pytest.mark.parametrize(("policy", "expected"), [("Never", "Failed"), ("Always", "Pending")])
async def test_an_init_container_that_fails_holds_the_pod_up_or_fails_it(
    start: Start, policy: str, expected: str
) -> None:
    inits = (container("first", "exit(4)"),)
    running = start(container("main", WAITS), spec={"init_containers": inits, "restart_policy": policy})

    def ended() -> bool:
        statuses = running.statuses[-1].init_container_statuses if running.statuses else ()
        return bool(statuses) and (statuses[0].restart_count > 0 or "terminated" in statuses[0].state)

    await until(ended)
    await until(lambda: phase(running) == expected)
    assert "running" not in running.statuses[-1].container_statuses[0].state


async def test_a_sidecar_has_started_before_the_next_and_ends_after_the_others(start: Start, tmp_path: Path) -> None:
    told = tmp_path / "told"
    says = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: ({}, sys.exit(0))); {}; time.sleep(600)"
    startup = Probe(exec=shell(f"test -e {told}"), period_seconds=1)
    beside = container(
        "beside", says.format(writes(told, "4"), writes(told, "1")), restart_policy="Always", startup_probe=startup
    )
    main = container("main", says.format(writes(told, "3"), writes(told, "2")))
    running = start(main, spec={"init_containers": (beside,)})
    await until(lambda: running.ready and told.read_text() == "12")
    await running.pod.stop()
    assert told.read_text() == "1234"


async def test_sidecars_end_when_the_others_are_done(start: Start) -> None:
    beside = container("beside", WAITS, restart_policy="Always")
    running = start(container("main", "pass"), spec={"init_containers": (beside,), "restart_policy": "Never"})
    async with asyncio.timeout(20):
        await running.task
    assert phase(running) == "Succeeded"


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")],
)
async def test_what_is_not_restarted_decides_the_phase(start: Start, policy: str, code: int, expected: str) -> None:
    running = start(container("main", f"exit({code})"), spec={"restart_policy": policy})
    async with asyncio.timeout(20):
        await running.task
    assert phase(running) == expected
    assert running.restarts == 0


async def test_on_failure_a_failed_container_is_started_again(start: Start) -> None:
    running = start(container("main", "exit(3)"), spec={"restart_policy": "OnFailure"})
    await until(lambda: running.restarts >= 2)
    assert phase(running) == "Running"


async def test_a_command_that_fails_or_takes_too_long_makes_unready(start: Start, tmp_path: Path) -> None:
    probe = Probe(exec=shell(f"test ! -e {tmp_path}/slow || sleep 60; test ! -e {tmp_path}/bad"), period_seconds=1)
    probe = msgspec.structs.replace(probe, failure_threshold=1)
    running = start(container("main", WAITS, readiness_probe=probe))
    await until(lambda: running.ready)
    (tmp_path / "bad").touch()
    await until(lambda: "sh ended with exit code 1" in running.why)
    (tmp_path / "bad").unlink()
    await until(lambda: running.ready)
    (tmp_path / "slow").touch()
    await until(lambda: "sh had not ended after 1 s" in running.why)


async def test_hooks_run_after_the_start_and_before_the_end(start: Start, tmp_path: Path) -> None:
    told = tmp_path / "told"
    lifecycle = Lifecycle(
        post_start=LifecycleHandler(exec=shell(f"printf begun >> {told}")),
        pre_stop=LifecycleHandler(exec=shell(f"printf ' hook' >> {told}")),
    )
    says = f"import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: ({writes(told, ' end')}, sys.exit(0)))"
    running = start(container("main", f"{says}; time.sleep(600)", lifecycle=lifecycle))
    await until(lambda: running.ready)
    await running.pod.stop()
    assert told.read_text() == "begun hook end"


async def test_a_hook_that_lasts_too_long_uses_up_the_grace(start: Start) -> None:
    lifecycle = Lifecycle(pre_stop=LifecycleHandler(exec=shell("sleep 600")))
    running = start(container("main", WAITS, lifecycle=lifecycle))
    await until(lambda: running.ready)
    async with asyncio.timeout(10):
        await running.pod.stop(grace_s=0.5)
    assert phase(running) == "Succeeded"


async def test_a_failed_hook_after_the_start_is_a_failed_start(start: Start) -> None:
    lifecycle = Lifecycle(post_start=LifecycleHandler(exec=shell("exit 9")))
    running = start(container("main", WAITS, lifecycle=lifecycle))
    await until(lambda: running.restarts >= 1)
    ended = running.statuses[-1].container_statuses[0].last_state["terminated"]
    assert "post-start hook failed: sh ended with exit code 9" in ended["message"]
