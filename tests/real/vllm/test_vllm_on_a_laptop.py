"""`argosy up --engine-python`: a service of vLLM on this machine, as a user has it."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from harness import vllm_environment
from harness.laptop import Laptop, free_port, processes_of, run
from harness.waiting import wait_for

pytestmark = pytest.mark.timeout(570)
UP_S, DOWN_S = 300, 180
SERVICE = """\
apiVersion: argosy.dev/v1alpha1
kind: LLMService
metadata: {name: apart}
spec:
  model: {source: 'file://FOLDER'}
  engine: {name: vllm, vllm: {blockTokens: 32, kvCacheMemory: 96Mi}}
  serving: {profile: disaggregated, disaggregation: {thresholdTokens: 128}}
  workers: {prefill: {}, decode: {}}
"""
LONG = "The ship sailed over the wide sea with cargo and crew. " * 30


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """One prefill and one decode worker, which are ended as `argosy down` ends them, and are gone then."""
    folder = tmp_path_factory.mktemp("d")
    file = folder / "apart.yaml"
    file.write_text(SERVICE.replace("FOLDER", str(vllm_environment.model())))
    found = Laptop(folder, free_port())
    where = ("--port", str(found.port), "--state-dir", folder, "--engine-python", vllm_environment.python())
    try:
        run("up", "-d", *where, file, timeout=UP_S)
        yield found
    finally:
        run("down", "--state-dir", folder, timeout=DOWN_S)
    wait_for(lambda: not processes_of(folder), "a process of vLLM outlived `argosy down`")


def asked(instance: Laptop, prompt: str) -> tuple[str, dict[str, Any]]:
    """Give the request's id and the answer."""
    body = {"model": "apart", "messages": [{"role": "user", "content": prompt}], "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(  # noqa: S310 (loopback)
        f"{instance.url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 (loopback)
        return answer.headers["x-request-id"], json.load(answer)


def by_source(instance: Laptop) -> dict[str, float]:
    """Give the prompt tokens of the decode worker by where they came from, as its engine counts them."""
    (decode,) = (each for each in instance.service("apart")["replicas"] if each["role"] == "decode")
    with urllib.request.urlopen(f"http://{decode['address']}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    found = (line for line in lines if line.startswith("vllm:prompt_tokens_by_source_total{"))
    return {line.partition('source="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in found}


def test_a_long_prompt_is_computed_by_the_one_and_answered_by_the_other(instance: Laptop) -> None:
    before = by_source(instance)
    request, answer = asked(instance, LONG)
    after = by_source(instance)
    assert answer["choices"][0]["message"]["content"]
    assert after["external_kv_transfer"] - before["external_kv_transfer"] == answer["usage"]["prompt_tokens"]
    assert after["local_compute"] == before["local_compute"]
    said = run("why", request, "--state-dir", instance.state).stdout
    assert " computed the prompt, " in said
    assert "whether the state arrived, the engine of the decode worker does not tell" in said
    assert instance.service("apart")["stand_ins"] == []


def test_a_short_prompt_is_computed_where_it_is_answered(instance: Laptop) -> None:
    before = by_source(instance)
    _, answer = asked(instance, "What is a fleet?")
    assert answer["choices"][0]["message"]["content"]
    assert by_source(instance)["external_kv_transfer"] == before["external_kv_transfer"]
