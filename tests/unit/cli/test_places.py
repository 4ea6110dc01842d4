"""Where a verb goes: one rule for all of them."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest

from argosy.apps.fleet.observe import observe
from argosy.apps.local.state import StateDirectory
from argosy.base.errors import NotNow, UserError
from argosy.cli import main
from argosy.cli.options import add_place
from argosy.cli.places import Place, place

VARIABLES = ("ARGOSY_STORE", "ARGOSY_STATE_DIR", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "XDG_STATE_HOME")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without an instance and without a kubeconfig."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def chosen(*argv: str) -> Place:
    parser = argparse.ArgumentParser()
    add_place(parser, all_namespaces=True)
    return place(parser.parse_args(argv))


def kubeconfig(path: Path, name: str = "prod", **context: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "current-context": name,
        "clusters": [{"name": "c", "cluster": {"server": f"https://{name}.example"}}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", **context}},
            {"name": "other", "context": {"cluster": "c"}},
        ],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def instance(home: Path) -> Any:
    """An instance that runs in the usual folder."""
    state = StateDirectory(home / ".local" / "state" / "argosy")
    state.prepare()
    with state.acquire() or pytest.fail("the lock is taken"):
        yield state


def test_nothing_at_all_says_how_to_choose(home: Path) -> None:
    with pytest.raises(NotNow) as error:
        chosen()
    for words in (str(home / ".kube" / "config"), "argosy up", "--state-dir", "--context"):
        assert words in str(error.value)


def test_an_instance_that_runs_is_nearer_than_a_cluster(
    home: Path, instance: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig(home / ".kube" / "config")
    found = chosen()
    assert found.state == instance
    assert not found.on_cluster
    assert found.namespace is None
    assert capsys.readouterr().err.startswith(f"argosy: the instance in {instance.root}; ")


@pytest.mark.parametrize(
    "argv", [("--cluster",), ("--context", "prod"), ("-n", "team"), ("--namespace", "team", "--cluster")]
)
def test_an_option_of_clusters_means_a_cluster_and_nothing_needs_to_be_said(
    home: Path, instance: StateDirectory, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    assert instance.supervisor_pid() is not None
    kubeconfig(home / ".kube" / "config")
    assert chosen(*argv).on_cluster
    assert capsys.readouterr().err == ""


def test_without_an_instance_the_current_context_is_meant_and_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig(home / ".kube" / "config", namespace="team")
    found = chosen()
    assert found.namespace == "team"
    assert found.name == 'context "prod" (https://prod.example), namespace team'
    assert capsys.readouterr().err.startswith(f"argosy: {found.name}; ")


def test_the_variable_names_several_files_and_the_option_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = kubeconfig(home / "a"), kubeconfig(home / "b", name="test")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(("", str(home / "missing"), str(first), str(second))))
    assert 'context "prod"' in chosen("--cluster").name
    assert 'context "test"' in chosen("--context", "test").name
    assert 'context "test"' in chosen("--kubeconfig", str(second)).name
    with pytest.raises(UserError, match="no context 'nowhere'"):
        chosen("--context", "nowhere")
    with pytest.raises(UserError, match="there is no kubeconfig"):
        chosen("--kubeconfig", str(home / "missing"))


def test_a_namespace_is_the_options_or_the_contexts_or_default_or_all(home: Path) -> None:
    file = str(kubeconfig(home / "config", namespace="team"))
    assert chosen("--kubeconfig", file).namespace == "team"
    assert chosen("--kubeconfig", file, "-n", "mine").namespace == "mine"
    assert chosen("--kubeconfig", file, "--context", "other").namespace == "default"
    everything = chosen("--kubeconfig", file, "-A")
    assert everything.namespace is None
    assert everything.name.endswith("all namespaces")


def test_the_store_of_the_environment_goes_before_the_instance_and_the_command_line_before_both(
    home: Path, instance: StateDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = kubeconfig(home / "config")
    monkeypatch.setenv("ARGOSY_STORE", f"kubeconfig://{file}")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(home / "other", name="test")))
    assert "https://prod.example" in chosen().name
    assert 'context "test"' in chosen("--cluster").name
    assert chosen("--state-dir", str(instance.root)).state == instance
    socket = chosen("--store", "unix:///run/x/store.sock", "-n", "team")
    assert socket.state == StateDirectory(Path("/run/x"))
    assert socket.address == "unix:///run/x/store.sock"
    assert socket.namespace == "team"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "argv",
    [
        ("--store", "in-cluster", "--cluster"),
        ("--store", "in-cluster", "--state-dir", "x"),
        ("--state-dir", "x", "--context", "prod"),
    ],
)
def test_two_places_at_once_are_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=argv[-2] if argv[-2].startswith("--") else argv[-1]):
        chosen(*argv)


def test_a_place_that_is_named_badly_is_refused(home: Path) -> None:
    with pytest.raises(UserError, match="it must be unix:///PATH"):
        chosen("--store", "http://x")
    with pytest.raises(UserError, match="--state-dir is empty"):
        chosen("--state-dir", "")
    with pytest.raises(NotNow, match="nothing is running in"):
        chosen("--state-dir", str(home))


def test_in_a_pod_the_pods_own_cluster_is_meant(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for argv in ((), ("--cluster",)):
        with pytest.raises(UserError, match="automountServiceAccountToken"):
            chosen(*argv)
    kubeconfig(home / ".kube" / "config")
    assert 'context "prod"' in chosen().name


async def test_a_place_that_does_not_answer_says_what_to_do(home: Path) -> None:
    file = kubeconfig(home / "config")
    file.write_text(file.read_text().replace("https://prod.example", "http://127.0.0.1:1"))
    with pytest.raises(NotNow, match=r"127\.0\.0\.1:1.*is the context right"):
        async with chosen("--kubeconfig", str(file)).open() as fleet:
            await observe(fleet)
    with pytest.raises(NotNow, match="try again in a moment"):
        async with chosen("--store", f"unix://{home}/store.sock").open() as fleet:
            await observe(fleet)


@pytest.mark.parametrize("verb", [["apply", "-f"], ["diff"]])
def test_what_is_wrong_with_a_file_is_said_where_there_is_nowhere_to_take_it(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("apiVersion: argosy.dev/v1alpha1\nkind: LLMService\nmetadata: {name: a}\nspec: {modle: {}}\n")
    assert main([*verb, str(wrong)]) == 2
    assert "did you mean model?" in capsys.readouterr().err
