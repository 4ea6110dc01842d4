import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from harness.control_plane import API_ADDRESS, ControlPlane
from harness.laptop import ROOT
from harness.waiting import wait_for


def test_controllers_and_scheduler_work(cluster: ControlPlane, namespace: str) -> None:
    pod = {"containers": [{"name": "web", "image": "web"}], "nodeSelector": {"there-is": "no-such-node"}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(deployment))
    pods = ("get", "pods", f"--namespace={namespace}", "--output=name")
    wait_for(lambda: len(cluster.kubectl(*pods).split()) == 2, "the controllers made no pods")
    reason = "--output=jsonpath={.items[*].status.conditions[?(@.type=='PodScheduled')].reason}"
    wait_for(lambda: "Unschedulable" in cluster.kubectl(*pods[:-1], reason), "the scheduler said nothing")


def test_nothing_of_the_cluster_is_seen_outside_its_network(cluster: ControlPlane) -> None:
    command = ["ip", "route", "get", API_ADDRESS]
    local = subprocess.run(command, capture_output=True, text=True, check=True)
    assert local.stdout.startswith("local")
    home = ["nsenter", f"--net=/proc/{os.getppid()}/ns/net", *command]
    outside = subprocess.run(home, capture_output=True, text=True, check=False)
    assert not outside.stdout.startswith("local")
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)  # noqa: S607
    assert str(cluster.process_id) not in names.stdout


def test_a_cluster_in_the_foreground_is_entered_as_it_says_and_dies_with_its_process(tmp_path: Path) -> None:
    script = [sys.executable, "-u", ROOT / "scripts" / "test_cluster.py", "up"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout is not None
        try:
            enter = next(line for line in running.stdout if "nsenter" in line).split()
            shown = subprocess.run(enter, capture_output=True, text=True, check=True, timeout=30)
            assert "node-3" in shown.stdout
        finally:
            running.send_signal(signal.SIGKILL)
    wait_for(lambda: not of_folder(tmp_path), "a part of the cluster outlived the process that started it")


def of_folder(folder: Path) -> list[str]:
    """Give the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").resolve().is_relative_to(folder):
                    found.append(entry.name)
            except OSError:
                continue  # it ended while we looked
    return found
