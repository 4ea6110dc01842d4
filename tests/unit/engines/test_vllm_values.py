"""What vLLM is told: arguments and variables from typed fields."""

import json
from typing import Any

import pytest

from argosy.api.vllm_options import VLLMOptions
from argosy.engines import vllm
from argosy.engines.vllm import Adapter, Settings, args, environment


def told(**more: Any) -> Settings:
    given = {"model": "m", "weights": "/models/m", "on_cpu": True, "port": 8000, "kv_port": 5600, "threads": "2"}
    return Settings(**{**given, **more})


def test_arguments_have_a_fixed_order() -> None:
    settings = told(context_tokens=2048, parallel=4, kv_bytes=96, host="127.0.0.9")
    assert " ".join(args(settings)) == (
        "--model=/models/m --served-model-name=m --host=127.0.0.9 --port=8000 --max-model-len=2048 --max-num-seqs=4 "
        "--kv-cache-memory-bytes=96 --dtype=bfloat16 --enforce-eager "
        "--enable-prompt-tokens-details --shutdown-timeout=120 --disable-access-log-for-endpoints=/health,/metrics"
    )


def test_what_nobody_asked_for_on_a_gpu_is_left_to_vllm() -> None:
    assert " ".join(args(told(on_cpu=False))) == (
        "--model=/models/m --served-model-name=m --host=$(POD_IP) --port=8000 --dtype=auto "
        "--enable-prompt-tokens-details --shutdown-timeout=120 --disable-access-log-for-endpoints=/health,/metrics"
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"prefix_caching": False}, "--no-enable-prefix-caching"),
        ({"chunked_prefill": False}, "--no-enable-chunked-prefill"),
        ({"enforce_eager": True}, "--enforce-eager"),
        ({"block_tokens": 32}, "--block-size=32"),
        ({"max_batched_tokens": 512}, "--max-num-batched-tokens=512"),
        ({"gpu_memory_percent": 90}, "--gpu-memory-utilization=0.9"),
        ({"gpu_memory_percent": 100}, "--gpu-memory-utilization=1"),
    ],
)
def test_each_option_is_one_argument(options: dict[str, Any], word: str) -> None:
    plain = args(told(on_cpu=False))
    assert set(args(told(on_cpu=False, options=VLLMOptions(**options)))) - set(plain) == {word}


def test_an_option_says_the_contrary_of_what_cpus_do_by_themselves() -> None:
    assert "--enforce-eager" not in args(told(options=VLLMOptions(enforce_eager=False)))
    assert "--gpu-memory-utilization=0.5" not in args(told(options=VLLMOptions(gpu_memory_percent=50)))


@pytest.mark.parametrize(
    ("quantization", "on_cpu", "words"),
    [
        ("auto", True, ["--dtype=bfloat16"]),
        ("auto", False, ["--dtype=auto"]),
        ("f32", True, ["--dtype=float32"]),
        ("f16", False, ["--dtype=float16"]),
        ("awq", False, ["--dtype=auto", "--quantization=awq"]),
        ("fp8", True, ["--dtype=bfloat16"]),
        ("int4", False, ["--dtype=auto"]),
    ],
)
def test_weights_are_computed_with_as_the_file_says(quantization: str, *, on_cpu: bool, words: list[str]) -> None:
    found = args(told(quantization=quantization, on_cpu=on_cpu))
    assert [word for word in found if word.startswith(("--dtype", "--quantization"))] == words


def test_a_replica_is_spread_as_its_parallelism_says() -> None:
    found = args(told(on_cpu=False, tensor=2, data=4))
    assert [word for word in found if "parallel" in word] == ["--tensor-parallel-size=2", "--data-parallel-size=4"]


def test_adapters_are_named_whatever_is_in_their_names() -> None:
    pirate, odd = Adapter(name="pirate", path="/a/pirate"), Adapter(name="-x=y", path="someone/odd")
    found = args(told(adapters=(pirate, odd), options=VLLMOptions(max_adapter_rank=20)))
    at = found.index("--lora-modules")
    assert found[at - 4 : at] == ("--enable-lora", "--max-loras=2", "--max-cpu-loras=2", "--max-lora-rank=32")
    assert [json.loads(word) for word in found[at + 1 : at + 3]] == [
        {"name": "pirate", "path": "/a/pirate"},
        {"name": "-x=y", "path": "someone/odd"},
    ]
    assert "--max-loras=8" in args(told(adapters=(pirate,) * 20))


def test_the_largest_rank_that_a_file_may_ask_for_is_one_that_vllm_has() -> None:
    assert "--max-lora-rank=512" in args(
        told(adapters=(Adapter(name="a", path="/a"),), options=VLLMOptions(max_adapter_rank=512))
    )


@pytest.mark.parametrize("role", ["kv_producer", "kv_consumer", "kv_both"])
def test_workers_that_exchange_caches_recompute_what_does_not_come(role: str) -> None:
    (word,) = [word for word in args(told(kv_role=role)) if word.startswith("--kv-transfer-config=")]
    assert json.loads(word.partition("=")[2]) == {
        "kv_connector": "NixlConnector",
        "kv_role": role,
        "kv_load_failure_policy": "recompute",
        "kv_buffer_device": "cpu",
    }
    (word,) = [word for word in args(told(kv_role=role, on_cpu=False)) if word.startswith("--kv-transfer-config=")]
    assert "kv_buffer_device" not in word


def test_variables_report_nothing_and_keep_to_the_own_cores() -> None:
    assert environment(told()) == {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    exchanging = environment(told(on_cpu=False, weights="Qwen/Qwen3-32B", kv_role="kv_both", host="10.0.0.1"))
    assert exchanging == {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_NIXL_SIDE_CHANNEL_HOST": "10.0.0.1",
        "VLLM_NIXL_SIDE_CHANNEL_PORT": "5600",
        "UCX_TCP_USER_TIMEOUT": "5s",
        "UCX_TCP_KEEPIDLE": "2s",
        "UCX_TCP_KEEPINTVL": "1s",
    }


def test_a_cache_has_room_for_all_that_decode_together() -> None:
    assert vllm.cpu_kv_bytes(23_040, context_tokens=2048, parallel=4) == 23_040 * 2048 * 4
    assert vllm.cpu_kv_bytes(None, context_tokens=2048, parallel=4) == vllm.CPU_KV_BYTES


def test_its_end_has_time_for_all_that_is_under_way() -> None:
    assert vllm.GRACE_S > vllm.ACCEPT_S + vllm.DRAIN_S
    assert vllm.DRAIN_S > vllm.KV_LEASE_S
