"""Starting, changing and ending an instance, in order and by force."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.laptop import ARGOSY, ROOT, Laptop, chat_head, free_port, laptop, processes_of, run
from harness.waiting import wait_for

SMOLLM2 = ROOT / "examples" / "smollm2.yaml"
TWO_MODELS = ROOT / "examples" / "two-models.yaml"
CLUSTER = ROOT / "examples" / "cluster.yaml"
HEAD = "apiVersion: argosy.dev/v1alpha1\nkind: LLMService\nmetadata: {name: a}\n"


def models(instance: Laptop) -> list[str]:
    with urllib.request.urlopen(f"{instance.url}/v1/models", timeout=5) as response:  # noqa: S310 (loopback)
        return sorted(model["id"] for model in json.load(response)["data"])


def test_a_second_up_changes_the_running_instance_and_keeps_what_stays(tmp_path: Path) -> None:
    with laptop(tmp_path, SMOLLM2) as instance:
        before = {replica["pid"] for replica in instance.service()["replicas"]}
        envoy = instance.pid("envoy")
        instance.up(SMOLLM2)
        assert {replica["pid"] for replica in instance.service()["replicas"]} == before
        three = tmp_path / "three.yaml"
        three.write_text(SMOLLM2.read_text().replace("replicas: 2", "replicas: 3"))
        instance.up(three)
        after = {replica["pid"] for replica in instance.service()["replicas"]}
        assert before < after
        assert len(after) == 3
        assert instance.pid("envoy") == envoy


def test_services_that_the_files_no_longer_name_go(tmp_path: Path) -> None:
    with laptop(tmp_path, TWO_MODELS) as instance:
        assert len(models(instance)) == 2
        instance.up(SMOLLM2)
        wait_for(lambda: models(instance) == ["smollm2"], "the other model is still served")
        assert [service["name"] for service in instance.status()["services"]] == ["smollm2"]


def test_a_cluster_file_runs_with_stand_ins_that_status_keeps(tmp_path: Path) -> None:
    with laptop(tmp_path, CLUSTER) as instance:
        service = instance.status()["services"][0]
        assert service["stand_ins"]
        assert {"field", "asked", "given", "why"} <= set(service["stand_ins"][0])
        assert models(instance) == [service["model"]]
    strict = run("up", "-d", "--strict", "--state-dir", tmp_path, "--port", free_port(), CLUSTER, check=False)
    assert strict.returncode == 2
    assert not processes_of(tmp_path)


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("up", "-d", "--port", port, "--state-dir", tmp_path, SMOLLM2, check=False)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert not processes_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (f"{HEAD}spec: {{modle: {{}}}}\n", "model"),
        (f"{HEAD}spec: {{model: {{source: 'file:///nowhere/x.gguf'}}}}\n", "/nowhere/x.gguf"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_nothing_starts(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    done = run("up", "-d", "--port", free_port(), "--state-dir", tmp_path / "s", file, check=False)
    assert done.returncode == 2
    assert "wrong.yaml" in done.stderr
    assert says in done.stderr
    assert not processes_of(tmp_path / "s")


def test_weights_that_are_no_gguf_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"not a model" * 1000)
    file = tmp_path / "service.yaml"
    file.write_text(f"{HEAD}spec: {{model: {{source: 'file://{weights}'}}}}\n")
    done = run("up", "-d", "--port", free_port(), "--state-dir", tmp_path / "s", file, check=False)
    assert done.returncode == 2
    assert "GGUF" in done.stderr


def test_a_wrong_second_file_changes_nothing(tmp_path: Path) -> None:
    with laptop(tmp_path / "s", SMOLLM2) as instance:
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text(SMOLLM2.read_text().replace("replicas: 2", "replicas: -1"))
        before = instance.service()
        done = run("up", "-d", "--state-dir", instance.state, wrong, check=False)
        assert done.returncode == 2
        assert "replicas" in done.stderr
        assert instance.service()["replicas"] == before["replicas"]


def test_a_service_of_no_replicas_is_served_503_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    file.write_text(SMOLLM2.read_text().replace("replicas: 2", "replicas: 0"))
    with laptop(tmp_path / "s", file) as instance:
        assert instance.service()["replicas"] == []
        request = urllib.request.Request(  # noqa: S310 (loopback)
            f"{instance.url}/v1/chat/completions",
            data=b'{"model": "smollm2", "messages": [{"role": "user", "content": "hi"}]}',
            headers={"content-type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)  # noqa: S310 (loopback)
        with refused.value as answer:
            assert answer.code == 503
            assert "replicas" in json.load(answer)["error"]["message"]


def test_up_in_the_foreground_ends_on_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    with foreground(tmp_path) as supervisor:
        wait_for(lambda: is_up(tmp_path), "it did not come up", within_s=30)
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(timeout=30) == 0
    wait_for(lambda: not processes_of(tmp_path), "a process outlived Ctrl-C")


def test_a_running_answer_finishes_when_the_instance_is_ended(tmp_path: Path) -> None:
    with laptop(tmp_path, SMOLLM2) as instance:
        request = json.dumps(
            {
                "model": "smollm2",
                "messages": [{"role": "user", "content": "Tell a long story."}],
                "stream": True,
                "max_tokens": 150,
                "ignore_eos": True,
            }
        ).encode()
        with socket.create_connection(("127.0.0.1", instance.port)) as client:
            client.settimeout(30)
            client.sendall(chat_head(len(request)) + request)
            answer = client.recv(65536)
            instance.down()
            while piece := client.recv(65536):
                answer += piece
        assert b"data: [DONE]" in answer


@contextlib.contextmanager
def foreground(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `argosy up` as its user does, in the foreground."""
    command = [*ARGOSY, "up", "--port", str(free_port()), "--state-dir", str(state), str(SMOLLM2)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as supervisor:
        try:
            yield supervisor
        finally:
            with contextlib.suppress(ProcessLookupError):
                supervisor.kill()


def is_up(state: Path) -> bool:
    done = run("status", "--json", "--state-dir", state, check=False)
    if done.returncode:
        return False
    services = json.loads(done.stdout)["services"]
    return bool(services) and all(replica["ready"] for s in services for replica in s["replicas"])


@pytest.mark.timeout(300)
def test_no_process_outlives_a_supervisor_killed_at_any_moment(tmp_path: Path) -> None:
    """20 moments: 12 while it starts, 4 while it serves, 4 while it drains."""
    rng = random.Random(7)
    moments = [("start", rng.uniform(0.05, 4.0)) for _ in range(12)]
    moments += [("steady", rng.uniform(0.0, 0.3)) for _ in range(4)]
    moments += [("drain", rng.uniform(0.0, 0.5)) for _ in range(4)]

    def kill(index: int, phase: str, delay: float) -> None:
        state = tmp_path / f"m{index:02}"
        with foreground(state) as supervisor:
            if phase != "start":
                wait_for(lambda: is_up(state), "it did not come up", within_s=60)
            if phase == "drain":
                supervisor.send_signal(signal.SIGINT)
            time.sleep(delay)
            supervisor.kill()
        killed = f"killed after {delay:.2f} s of {phase}"
        wait_for(lambda: not processes_of(state), f"{killed}: {processes_of(state)}", within_s=5)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(kill, index, *moment) for index, moment in enumerate(moments)]:
            done.result()


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is made with a small tmpfs, which needs root")
def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)  # noqa: S607
    try:
        (disk / "filler").write_bytes(b"x" * 60_000)
        done = run("up", "-d", "--port", free_port(), "--state-dir", disk / "s", SMOLLM2, check=False)
        assert done.returncode == 2
        assert "full" in done.stderr
        assert not processes_of(disk / "s")
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607


def test_an_instance_that_is_only_starting_can_be_ended(tmp_path: Path) -> None:
    command = [*ARGOSY, "up", "-d", "--port", str(free_port()), "--state-dir", str(tmp_path), str(SMOLLM2)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as starting:
        wait_for((tmp_path / "supervisor.lock").exists, "nothing started")
        wait_for(lambda: "nothing is running" not in run("down", "--state-dir", tmp_path).stdout, "nothing was ended")
        _, said = starting.communicate(timeout=30)
    assert starting.returncode == 1
    assert said
    wait_for(lambda: not processes_of(tmp_path), "a process outlived `argosy down`")


async def test_status_of_nothing_says_how_to_start(tmp_path: Path) -> None:
    done = await asyncio.to_thread(run, "status", "--state-dir", tmp_path, check=False)
    assert done.returncode == 1
    assert "argosy up" in done.stdout + done.stderr
