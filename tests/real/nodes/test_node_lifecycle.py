"""How containers are probed, restarted, told to end and ended, and what their logs give, on the real control plane."""

import contextlib
import http.client
import subprocess
import time
from collections.abc import Iterator
from typing import IO, Any

import pytest

from harness.control_plane import ControlPlane
from harness.nodes import Nodes
from harness.space import PORT, Program, Space, pod, program, script
from harness.waiting import wait_for

FAST = {"periodSeconds": 1, "failureThreshold": 1}


def container_status(space: Space, name: str) -> dict[str, Any]:
    found = space.find("pod", name)
    statuses = (found or {"status": {}})["status"].get("containerStatuses") or [{}]
    return dict(statuses[0])


def is_ready(space: Space, name: str) -> bool:
    return bool(container_status(space, name).get("ready"))


@pytest.mark.parametrize(
    ("way", "breaks"),
    [
        ({"tcpSocket": {"port": PORT + 2}}, ""),
        ({"grpc": {"port": PORT + 1}}, "/tmp/unhealthy"),  # noqa: S108
        ({"exec": {"command": ["test", "!", "-e", "/broken"]}}, "/broken"),
        ({"httpGet": {"path": "/read?path=/etc/hostname", "port": "http"}}, ""),
    ],
    ids=["tcp", "grpc", "exec", "http"],
)
def test_a_probe_decides_by(space: Space, way: dict[str, Any], breaks: str, request: pytest.FixtureRequest) -> None:
    name = f"probed-{request.node.callspec.id}"
    container = program(readinessProbe={**way, **FAST})
    container["command"].append("grpc")
    space.apply(pod(name, container))
    if "tcpSocket" in way:  # nobody listens there
        wait_for(lambda: container_status(space, name).get("started"), "it never started")
        wait_for(lambda: any("does not accept" in m for _, m in space.events(name)), "the probe was not asked")
        assert not is_ready(space, name)
        return
    running = space.ready(name)
    wait_for(running.answers, "it does not answer")
    if breaks:
        running.ask("write", path=breaks)
        wait_for(lambda: not is_ready(space, name), "the probe's failure changed nothing")


def test_a_container_that_fails_its_liveness_probe_is_restarted(space: Space) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/dead"]}, **FAST}
    space.apply(pod("mortal", program(livenessProbe=probe)))
    space.ready("mortal").ask("write", path="/dead")
    wait_for(lambda: container_status(space, "mortal").get("restartCount") == 1, "it was not restarted")
    assert space.ready("mortal").answers()  # with a fresh layer to write on
    assert container_status(space, "mortal")["lastState"]["terminated"]["exitCode"] == 0
    assert any(m.startswith("Liveness probe failed") for r, m in space.events("mortal") if r == "Unhealthy")


def test_a_startup_probe_holds_readiness_up(space: Space) -> None:
    probe = {"exec": {"command": ["test", "-e", "/started"]}, "periodSeconds": 1, "failureThreshold": 60}
    space.apply(pod("slow", program(startupProbe=probe)))
    address = wait_for(lambda: space.get("pod", "slow")["status"].get("podIP"), "it got no address")
    slow = Program(address)
    wait_for(slow.answers, "it does not answer")
    assert not is_ready(space, "slow")
    slow.ask("write", path="/started")
    space.ready("slow")


def test_a_container_that_ends_again_and_again_waits_longer(space: Space) -> None:
    space.apply(pod("crashing", script("echo no luck; exit 7", terminationMessagePolicy="FallbackToLogsOnError")))

    def backing_off() -> bool:
        status = container_status(space, "crashing")
        waiting = status.get("state", {}).get("waiting", {})
        return status.get("restartCount", 0) >= 2 and waiting.get("reason") == "CrashLoopBackOff"

    wait_for(backing_off, "no back-off was told")
    ended = container_status(space, "crashing")["lastState"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (7, "no luck")
    assert any(reason == "BackOff" for reason, _ in space.events("crashing"))
    assert space.get("pod", "crashing")["status"]["phase"] == "Running"


def test_a_container_may_write_what_its_end_is_to_say(space: Space) -> None:
    text = "echo no such model > /dev/termination-log; exit 2"
    security = {"runAsUser": 1000, "readOnlyRootFilesystem": True}
    space.apply(pod("saying", script(text, securityContext=security), restartPolicy="Never"))
    wait_for(lambda: space.get("pod", "saying")["status"]["phase"] == "Failed", "it did not fail")
    assert container_status(space, "saying")["state"]["terminated"]["message"] == "no such model\n"


def test_restart_policies_decide_what_becomes_of_an_end(space: Space) -> None:
    space.apply(
        pod("never", script("exit 1"), restartPolicy="Never"),
        pod("done", script("exit 0"), restartPolicy="OnFailure"),
        pod("again", script("exit 1"), restartPolicy="OnFailure"),
    )
    wait_for(lambda: space.get("pod", "never")["status"]["phase"] == "Failed", "it did not fail")
    wait_for(lambda: space.get("pod", "done")["status"]["phase"] == "Succeeded", "it did not succeed")
    wait_for(lambda: container_status(space, "again").get("restartCount", 0) >= 1, "it was not restarted")


def test_a_pod_that_is_deleted_finishes_its_work_within_its_grace(space: Space) -> None:
    space.apply(pod("busy", program(), terminationGracePeriodSeconds=20))
    busy = space.ready("busy")
    busy.ask("write", path="/tmp/busy")  # noqa: S108
    space.kubectl("delete", "pod", "busy", "--wait=false")
    wait_for(lambda: "asked to end" in space.kubectl("logs", "busy"), "it was not asked to end")
    assert busy.answers()
    assert is_ready(space, "busy")  # readiness is the probe's to say, to the end
    busy.ask("remove", path="/tmp/busy")  # noqa: S108
    wait_for(lambda: space.find("pod", "busy") is None, "it did not go when its work was done")


@pytest.mark.parametrize("grace", ["1", "0"])
def test_a_pod_that_does_not_end_is_killed(space: Space, grace: str) -> None:
    name = f"stubborn-{grace}"
    space.apply(pod(name, script("trap '' TERM; while :; do sleep 1; done"), terminationGracePeriodSeconds=60))
    wait_for(lambda: container_status(space, name).get("ready"), "it did not start")
    begun = time.monotonic()
    space.kubectl("delete", "pod", name, f"--grace-period={grace}", "--force" if grace == "0" else "--wait=true")
    assert time.monotonic() - begun < 15
    assert space.find("pod", name) is None


def test_hooks_run_after_the_start_and_before_the_end(space: Space) -> None:
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started > /shared/told"]}},
        "preStop": {"httpGet": {"path": "/say?text=hook", "port": PORT}},
    }
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    volumes = [{"name": "shared", "emptyDir": {}}]
    hooked = program(lifecycle=lifecycle, volumeMounts=mounts)
    space.apply(pod("hooked", hooked, volumes=volumes, terminationGracePeriodSeconds=20))
    assert space.ready("hooked").ask("read", path="/shared/told") == "started\n"
    with follow(space, "hooked") as log:
        space.kubectl("delete", "pod", "hooked", "--wait=false")
        lines = log.read().splitlines()
    assert lines == ["serving", "hook", "asked to end", "ended"]


def test_a_hook_that_sleeps_delays_the_end(space: Space) -> None:
    lifecycle = {"preStop": {"sleep": {"seconds": 2}}}
    space.apply(pod("sleepy", program(lifecycle=lifecycle), terminationGracePeriodSeconds=20))
    space.ready("sleepy")
    begun = time.monotonic()
    space.kubectl("delete", "pod", "sleepy")
    assert 2 <= time.monotonic() - begun < 15


def test_logs_are_cut_followed_and_kept_of_the_run_before(space: Space) -> None:
    space.apply(pod("talker", program()))
    talker = space.ready("talker")
    for number in range(5):
        talker.ask("say", text=f"line {number}")
    assert space.kubectl("logs", "talker", "--tail=2") == "line 3\nline 4\n"
    assert space.kubectl("logs", "talker", "--limit-bytes=7") == "serving"
    with follow(space, "talker", "--tail=1") as log:
        assert log.readline() == "line 4\n"
        talker.ask("say", text="later")
        assert log.readline() == "later\n"
        with pytest.raises((OSError, http.client.HTTPException)):
            talker.ask("end", code="5")
    wait_for(lambda: container_status(space, "talker").get("restartCount") == 1, "it was not restarted")
    assert space.ready("talker").answers()
    assert space.kubectl("logs", "talker") == "serving\n"
    assert space.kubectl("logs", "talker", "--previous").splitlines()[-1] == "later"


def test_pods_run_on_while_the_api_server_is_away_and_are_ended_when_it_is_back(
    cluster: ControlPlane, space: Space
) -> None:
    space.apply(pod("lasting", program()), pod("asked", program()))
    lasting, asked = space.ready("lasting"), space.ready("asked")
    with cluster.api_server_down():
        assert lasting.answers()
        with pytest.raises((OSError, http.client.HTTPException)):
            asked.ask("end", code="3")
    wait_for(lambda: container_status(space, "asked").get("restartCount") == 1, "the restart was not told")
    space.kubectl("delete", "pod", "lasting", "--timeout=20s")
    assert not lasting.answers()


def test_what_got_away_from_its_container_ends_with_its_node(cluster: ControlPlane, nodes: Nodes, space: Space) -> None:
    text = "(setsid sh -c 'while :; do date > /shared/alive; sleep 0.1; done' &) ; sleep 600"
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    volumes = [{"name": "shared", "hostPath": {"path": str(cluster.folder / "alive"), "type": "DirectoryOrCreate"}}]
    space.apply(pod("daemon", script(text, volumeMounts=mounts), volumes=volumes, nodeName="node-3"))
    alive = cluster.folder / "alive" / "alive"
    wait_for(alive.exists, "the daemon did not start")
    nodes["node-3"].kill()
    alive.unlink(missing_ok=True)
    space.kubectl("delete", "pod", "daemon", "--force", "--grace-period=0")
    nodes["node-3"].start()
    assert not alive.exists()


@contextlib.contextmanager
def follow(space: Space, name: str, *args: str) -> Iterator[IO[str]]:
    """Give what `kubectl logs -f` prints, as a file."""
    kubectl = ["kubectl", f"--kubeconfig={space.cluster.kubeconfig}", f"--namespace={space.name}"]
    with subprocess.Popen([*kubectl, "logs", "-f", name, *args], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()
