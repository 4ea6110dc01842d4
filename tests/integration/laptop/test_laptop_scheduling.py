"""The scheduling file of an instance on a laptop: checked before anything starts, read again while it runs."""

import json
from pathlib import Path
from urllib.request import Request, urlopen

from harness.laptop import ROOT, Laptop, free_port, laptop, run
from harness.waiting import wait_for

SMOLLM2 = ROOT / "examples" / "smollm2.yaml"
HEAD = "apiVersion: argosy.dev/v1alpha1\nkind: SchedulingConfig\n"
BAD = f"{HEAD}profile: {{name: mine, scorers: [{{type: magic}}]}}\n"


def profile_of(instance: Laptop) -> str:
    """Have a request served; gives the profile by which it was picked."""
    body = json.dumps({"model": "smollm2", "prompt": "Hello", "max_tokens": 1}).encode()
    request = Request(f"{instance.url}/v1/completions", body, {"content-type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=30) as answer:  # noqa: S310 (loopback)
        asked = answer.headers["x-request-id"]
    return str(json.loads(run("why", asked, "--json", "--state-dir", instance.state).stdout)["profile"])


def usable(instance: Laptop) -> object:
    return instance.status()["gateway"]["scheduling_usable"]


def test_a_file_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file, state = tmp_path / "s.yaml", tmp_path / "state"
    file.write_text(BAD)
    for options in ((), ("-d",)):
        where = ("--port", str(free_port()), "--state-dir", state)
        refused = run("up", SMOLLM2, *options, *where, "--scheduling", file, check=False)
        assert refused.returncode == 2
        assert f"{file}: scorers: there is no plugin `magic`; there are backlog, " in refused.stderr
        assert not state.exists()


def test_an_instance_schedules_by_its_file_as_it_is_now_and_by_another_when_it_is_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(f"{HEAD}profile: lmetric\n")
    two.write_text(f"{HEAD}profile: dynamo\n")
    with laptop(tmp_path / "state", SMOLLM2, "--scheduling", one) as instance:
        assert profile_of(instance) == "lmetric"
        assert usable(instance) is True
        picker = instance.pid("picker")
        one.write_text(BAD)
        wait_for(lambda: usable(instance) is False, "a bad file is not noticed")
        assert "the file cannot be used, what it held before" in run("status", "--state-dir", instance.state).stdout
        logs = run("logs", "picker", "--state-dir", instance.state).stdout
        assert "scorers: there is no plugin `magic`" in logs
        assert profile_of(instance) == "lmetric"
        one.write_text(f"{HEAD}profile: {{name: mine, scorers: [{{type: queue}}]}}\n")
        wait_for(lambda: profile_of(instance) == "mine", "a file that is right again is not taken")
        assert usable(instance) is True
        one.write_text(f"{HEAD}profile: round-robin\n")
        refused = run("up", "--scheduling", tmp_path / "none", "--state-dir", instance.state, check=False)
        assert (refused.returncode, "none: is not there" in refused.stderr) == (2, True)
        wait_for(lambda: profile_of(instance) == "round-robin", "the file that is in force was left")
        assert f"schedules by {two}" in instance.up("--scheduling", str(two))
        wait_for(lambda: profile_of(instance) == "dynamo", "the other file is not taken")
        instance.up(SMOLLM2)
        assert profile_of(instance) == "dynamo"
        assert instance.pid("picker") == picker
        instance.down()
        instance.up(SMOLLM2)
        assert profile_of(instance) == "default"
