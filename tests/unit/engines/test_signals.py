from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.apps.engine.metrics import Metrics
from argosy.edge.http.exposition import family
from argosy.engines.signals import DIALECTS, MOST, Signals, dialect_of, signals_of

PAGES = {
    "vllm": """
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.25
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="100",num_cpu_blocks="None"} 1.0
vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="50",num_cpu_blocks="None"} 1.0
""",
    "sglang": """
sglang:num_running_reqs{model_name="m"} 4.0
sglang:num_queue_reqs{model_name="m"} 2.0
sglang:token_usage{model_name="m"} 0.375
sglang:cache_config_info{page_size="16",num_pages="150"} 1.0
""",
    "trtllm-serve": """
trtllm_num_requests_running 4
trtllm_num_requests_waiting 2
trtllm_kv_cache_utilization 0.375
trtllm_kv_cache_max_blocks 150
trtllm_kv_cache_tokens_per_block 16
""",
    "triton-tensorrt-llm": """
nv_trt_llm_request_metrics{model="m",request_type="waiting",version="1"} 2
nv_trt_llm_request_metrics{model="m",request_type="context",version="1"} 9
nv_trt_llm_request_metrics{model="m",request_type="scheduled",version="1"} 4
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="m"} 0.375
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="m"} 150
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="m"} 16
""",
    "triton": 'nv_inference_exec_count{model="m"} 4\nnv_inference_pending_request_count{model="m"} 2\n',
}


def read(page: str) -> Signals | None:
    return signals_of(DIALECTS["vllm"], of(page.encode("utf-8", "replace")))


def of(content: bytes) -> Any:
    return lambda name: family(content, name)


@pytest.mark.parametrize("engine", DIALECTS)
def test_every_engine_says_the_same_in_words_of_its_own(engine: str) -> None:
    same = Signals(running=4.0, waiting=2.0, kv_usage=0.375, cache_blocks=150, block_tokens=16)
    if engine == "triton":
        same = Signals(running=4.0, waiting=2.0)
    for label in ("llm-d.ai/engine-type", "inference.networking.k8s.io/engine-type"):
        assert signals_of(dialect_of({label: engine}), of(PAGES[engine].encode())) == same
    assert same.requests == 6


@pytest.mark.parametrize("labels", [{}, {"llm-d.ai/engine-type": "llama.cpp"}, {"llm-d.ai/engine-type": ""}])
def test_whoever_names_no_known_engine_is_taken_to_speak_as_vllm_does(labels: dict[str, str]) -> None:
    assert dialect_of(labels) == DIALECTS["vllm"]


def test_counts_of_all_ends_add_up_and_slots_are_those_of_the_cache() -> None:
    said = read("""
vllm:num_requests_running{model_name="m"} 0.0
vllm:request_success_total{finished_reason="stop",model_name="m"} 3.0
vllm:request_success_total{finished_reason="length",model_name="m"} 2.0
vllm:prompt_tokens_total{model_name="m"} 700.0
vllm:cache_config_info{block_size="2048",num_gpu_blocks="4",num_slots="4",model_name="m"} 1.0
""")
    assert said == Signals(running=0, cache_blocks=4, block_tokens=2048, cache_slots=4, ended=5, prompt_tokens=700)


def test_what_is_not_said_is_not_known() -> None:
    assert read("vllm:num_requests_running 1\n") == Signals(running=1.0)
    assert read("vllm:num_requests_waiting 1\n") is None
    config = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0\n'
    assert read(f"vllm:num_requests_running 1\n{config}") == Signals(running=1.0, block_tokens=16)


NAMES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "cache_config_info")


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=8), st.floats()), max_size=6))
def test_whatever_a_page_says_stays_within_bounds(series: list[tuple[str, str, float]]) -> None:
    lines = (f'vllm:{name}{{block_size="{text!r}",num_gpu_blocks="{value}"}} {value}' for name, text, value in series)
    said = read("\n".join(lines))
    if said is not None:
        assert 0 <= said.running <= MOST
        assert 0 <= said.waiting <= MOST
        assert said.kv_usage is None or 0 <= said.kv_usage <= 1
        assert said.cache_blocks is None or 0 < said.cache_blocks <= MOST


def test_our_engine_names_the_adapters_with_requests() -> None:
    metrics = Metrics("m")
    metrics.show_load(running=lambda: 1, waiting=lambda: 2)
    metrics.show_adapters(3, running=lambda: {"pirate"}, waiting=lambda: {"", "sailor/robot"})
    page = metrics.exposition()
    found = signals_of(DIALECTS["vllm"], lambda name: family(page, name))
    assert found is not None
    assert found.adapters == {"pirate", "sailor/robot"}
