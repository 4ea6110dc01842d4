"""The chart, by Helm itself: what it renders is what `argosy install` writes, and it refuses what is no value."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.api.names import MANAGED_BY
from harness import go_programs
from harness.laptop import ROOT, run

CHART = ROOT / "charts" / "argosy"


@pytest.fixture(autouse=True)
def inside() -> None:
    """No cluster is needed here."""


@pytest.fixture(scope="module")
def program() -> Path:
    found = go_programs.program("helm")
    if found is None:
        pytest.skip("helm is not built; `make test-real` builds it")
    return found


def helm(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def rendered(program: Path, *settings: str) -> list[Any]:
    done = helm(program, "template", "argosy", CHART, "--kube-version", "1.36", *settings)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def written(*options: str) -> list[Any]:
    documents = yaml.safe_load_all(run("install", "--dry-run", *options).stdout)
    return [each for each in documents if each["kind"] != "CustomResourceDefinition"]


def comparable(objects: list[Any]) -> dict[tuple[str, str], Any]:
    """Give objects by name, without who keeps them, which is Helm for the one and us for the other."""

    def walked(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: walked(each) for name, each in value.items() if name != MANAGED_BY}
        return [walked(each) for each in value] if isinstance(value, list) else value

    return {(each["kind"], each["metadata"]["name"]): walked(each) for each in objects}


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ((), ()),
        (("--set", "port=80"), ("--port", "80")),
        (("--set", "serviceType=NodePort,replicas=3"), ("--service-type", "NodePort", "--replicas", "3")),
        (("--set", "image.registry=r.example/t/"), ("--image-registry", "r.example/t/")),
        (("--set", "tracing.endpoint=http://c:4318"), ("--otlp-endpoint", "http://c:4318")),
        (
            ("--set", "tracing.endpoint=http://c:4318,tracing.share=0.25"),
            ("--otlp-endpoint", "http://c:4318", "--trace-share", "0.25"),
        ),
        (("--set", "decisions.share=0.01"), ("--decisions-share", "0.01")),
    ],
    ids=["as it comes", "port", "type and replicas", "registry", "traces", "some traces", "decisions"],
)
def test_it_renders_what_install_writes(program: Path, settings: tuple[str, ...], options: tuple[str, ...]) -> None:
    assert comparable(rendered(program, *settings)) == comparable(written(*options))


def test_it_has_no_faults_by_helms_own_lint(program: Path) -> None:
    done = helm(program, "lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout


def pods(objects: list[Any]) -> Iterator[Any]:
    for each in objects:
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]


def test_values_reach_the_pods_and_policies(program: Path) -> None:
    made = rendered(
        program,
        *("--set", "nodeSelector.disk=ssd,tolerations[0].key=dedicated,image.pullPolicy=Always"),
        *("--set", "picker.resources.limits.memory=2Gi,networkPolicies.apiServerPorts={16443}"),
    )
    for pod in pods(made):
        assert pod["nodeSelector"] == {"disk": "ssd"}
        assert pod["tolerations"] == [{"key": "dedicated"}]
        assert pod["containers"][0]["imagePullPolicy"] == "Always"
    limits = {pod["containers"][0]["name"]: pod["containers"][0]["resources"]["limits"]["memory"] for pod in pods(made)}
    assert limits == {"operator": "1Gi", "gateway": "1Gi", "picker": "2Gi"}
    picker = comparable(made)["NetworkPolicy", "argosy-picker"]
    assert [{"port": 16443}] in [rule.get("ports") for rule in picker["spec"]["egress"]]


def test_policies_and_namespace_can_be_left_out(program: Path) -> None:
    made = rendered(program, "--set", "networkPolicies.enabled=false,createNamespace=false")
    assert not {"NetworkPolicy", "Namespace"} & {each["kind"] for each in made}


@pytest.mark.parametrize(
    "setting",
    [
        "replicas=0",
        "tracing.endpoint=c:4318",
        "decisions.share=2",
        "serviceType=Wrong",
        "port=70000",
        "nonsense=1",
        "image.nonsense=1",
        "createNamespace=7",
    ],
)
def test_it_refuses_what_is_no_value(program: Path, setting: str) -> None:
    done = helm(program, "template", "argosy", CHART, "--kube-version", "1.36", "--set", setting)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_an_old_kubernetes_is_refused(program: Path) -> None:
    done = helm(program, "template", "argosy", CHART, "--kube-version", "1.29")
    assert "requires kubeVersion" in done.stderr
