"""Every code block of docs/kubernetes.md does what it says, on a cluster with three nodes, in the order of the page."""

import json
import re
from pathlib import Path

import pytest

from argosy import __version__
from argosy.api.inference import InferenceModelRewrite
from argosy.engines import llama_cpp
from harness.control_plane import ControlPlane
from harness.documents import bash, blocks
from harness.kinds import install_rewrites
from harness.laptop import ROOT
from harness.nodes import Nodes, argosy_images
from harness.waiting import wait_for

PAGE = "docs/kubernetes.md"


REGISTRY = "registry.example.com/team"


@pytest.mark.timeout(600)
def test_the_page_goes_from_nothing_to_a_streamed_answer_and_back(
    cluster: ControlPlane, nodes: Nodes, tmp_path: Path
) -> None:
    nodes.add_images({f"{REGISTRY}/{name}": image for name, image in argosy_images().items()})
    builder = docker(tmp_path)
    cluster.kubectl("create", "namespace", "team")
    install_rewrites(cluster, InferenceModelRewrite)
    for block in blocks(PAGE):
        match block.language:
            case "sh" if block.text.startswith("helm "):
                pass  # another way to install, which has a test of its own
            case "sh":
                done = bash(block.text, cluster.kubeconfig, builder)
                assert done.returncode == 0, f"{block.place}: {done.stdout}{done.stderr}"
                assert done.stdout.strip(), f"{block.place} prints nothing"
                assert ("curl" in block.text) <= ("data: [DONE]" in done.stdout), done.stdout
            case "yaml":
                cluster.kubectl("apply", "--filename=-", stdin=block.text)
                (have_nodes_of_their_own if "disaggregated" in block.text else answer_of_strangers)(cluster)
            case "mermaid":
                pass
            case other:
                pytest.fail(f"{block.place}: nothing runs a block of {other!r}")
    left = cluster.kubectl("get", "namespaces,clusterroles,gatewayclasses", "--output=name")
    assert "argosy" not in left
    asked = (builder / "asked").read_text().splitlines()
    names = {f"{REGISTRY}/{name}:{__version__}" for name in argosy_images()}
    assert {line.split()[-1] for line in asked if line.startswith("push")} == names
    built = [line.split() for line in asked if line.startswith("build")]
    targets = {words[words.index("--tag") + 1]: words[words.index("--target") + 1] for words in built}
    assert targets == {name: name.rpartition("/")[2].partition(":")[0] for name in names}
    stages = re.findall(r"^FROM .* AS (\S+)$", (ROOT / "images" / "Containerfile").read_text(), re.MULTILINE)
    assert set(targets.values()) <= set(stages)


def have_nodes_of_their_own(cluster: ControlPlane) -> None:
    """Wait until the roles of the page's service are Deployments with the nodes that it says, and delete it."""

    def nodes_of(role: str) -> str:
        found = cluster.kubectl("get", "deployment", f"apart-{role}", "--ignore-not-found", "--output=json")
        return found and str(json.loads(found)["spec"]["template"]["spec"]["nodeSelector"])

    wait_for(lambda: "wide" in nodes_of("prefill") and "narrow" in nodes_of("decode"), "roles have no nodes")
    cluster.kubectl("delete", "llmservice", "apart")


def docker(folder: Path) -> Path:
    """Give a folder with a `docker` that notes what it was asked for: images are built in a test of their own."""
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n')
    program.chmod(0o755)
    return folder


def answer_of_strangers(cluster: ControlPlane) -> None:
    """Run pods that the page's pool selects, made without Argosy's help, and wait until they answer at its hostname."""
    container = {
        "name": "theirs",
        "image": llama_cpp.IMAGE,
        "args": ["--model=theirs", f"--weights={llama_cpp.EMBEDDED_WEIGHTS}", "--host=$(POD_IP)", "--port=8000"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1},
    }
    labels = {"app": "vllm"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "theirs", "namespace": "team"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(deployment))
    url = json.loads(cluster.kubectl("get", "llm", "smollm2", "--output=json"))["status"]["url"]
    body = json.dumps({"model": "theirs", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]})
    ask = f"curl -sS {url}/chat/completions -H 'host: mine.example.com' -H 'content-type: application/json' -d '{body}'"

    def answers() -> bool:
        return '"choices"' in bash(ask, cluster.kubeconfig).stdout

    wait_for(answers, "the page's pool does not answer", within_s=90)
