"""Which rule of which InferenceModelRewrite a request falls under, and which of its targets."""

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.inference import InferenceModelRewrite
from argosy.api.objects import Key, decode, encode
from argosy.decide.routing.rewrites import MAX_ASKED, NONE, Rewrites, Rewriting
from harness.services import rewrite

POOL = Key("default", "a")
NEW, OLD = "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"


def target(rewrites: Rewrites, model: str, pool: Key = POOL, draw: float = 0.0) -> str | None:
    found = rewrites.of(pool, model)
    return None if found is None else found.target(draw)


def test_an_exact_rule_goes_before_one_for_all_the_oldest_object_before_others_and_its_first_rule_first() -> None:
    objects = (
        rewrite("a-new", "a", (["m"], ["new"]), ([], ["all-new"]), created=NEW),
        rewrite("b-old", "a", ([], ["all-old"]), (["n", "m"], ["old"]), (["m"], ["later"]), created=OLD),
        rewrite("c-old", "a", (["m", "k"], ["same-age"]), created=OLD),
    )
    for order in itertools.permutations(objects):
        found = Rewrites(order)
        assert {model: target(found, model) for model in ("m", "n", "k", "x")} == {
            "m": "old", "n": "old", "k": "same-age", "x": "all-old"
        }  # fmt: skip
        rule = found.of(POOL, "m")
        assert rule is not None
        assert (rule.by, rule.rule, rule.model) == (Key("default", "b-old"), 1, "m")


def test_a_rewrite_is_of_the_pool_that_it_names_in_its_own_namespace() -> None:
    found = Rewrites([rewrite("r", "a", (["m"], ["new"]))])
    assert target(found, "m") == "new"
    assert target(found, "m", Key("default", "b")) is None
    assert target(found, "m", Key("elsewhere", "a")) is None
    assert target(NONE, "m") is None


@pytest.mark.parametrize(
    ("reference", "is_ours"),
    [
        ({"group": "inference.networking.k8s.io", "kind": "InferencePool"}, True),
        ({"group": "", "kind": ""}, True),
        ({"group": "inference.networking.x-k8s.io"}, False),
        ({"kind": "Service"}, False),
    ],
)
def test_what_is_no_pool_of_ours_is_passed_over(reference: dict[str, str], *, is_ours: bool) -> None:
    raw = encode(rewrite("r", "a", (["m"], ["new"])))
    raw["spec"]["poolRef"] |= reference
    assert (target(Rewrites([decode(InferenceModelRewrite, raw)]), "m") == "new") == is_ours


def test_a_name_that_is_too_long_falls_under_no_rule_for_all() -> None:
    long = "m" * (MAX_ASKED + 1)
    found = Rewrites([rewrite("r", "a", ([], ["all"]), ([long], ["exact"]))])
    assert [target(found, model) for model in (long, long + "m", long[:-1])] == ["exact", None, "all"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_weights_are_shares_of_the_draw(weights: list[int]) -> None:
    targets = tuple((str(number), weight) for number, weight in enumerate(weights))
    rule = Rewriting(by=POOL, rule=0, targets=targets)
    total = sum(weights)
    assert Counter(rule.target((number + 0.5) / total) for number in range(total)) == dict(targets)
    assert rule.target(0.0) == "0"
    assert rule.target(1.0) == str(len(weights) - 1)


def test_targets_without_weights_have_equal_shares() -> None:
    found = Rewrites([rewrite("r", "a", (["m"], ["x", "y"]))])
    assert [target(found, "m", draw=draw) for draw in (0.0, 0.49, 0.5, 0.99)] == ["x", "x", "y", "y"]


def test_every_decision_that_can_be_made_is_known() -> None:
    by = Key("default", "r")
    found = Rewrites([rewrite("r", "a", (["m"], [("x", 1), ("y", 2)]), ([], ["z"]))])
    assert found.decisions == {(by, "m", "x"), (by, "m", "y"), (by, "", "z")}


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"targets": []}, "length >= 1"),
        ({}, "targets"),
        ({"targets": [{"modelRewrite": "x", "weight": 0}]}, ">= 1"),
        ({"targets": [{"modelRewrite": "x", "weight": 1_000_001}]}, "<= 1000000"),
        ({"targets": [{"modelRewrite": "x", "weight": 1}, {"modelRewrite": "y"}]}, "all targets have a weight"),
        ({"targets": [{"modelRewrite": ""}]}, "modelRewrite"),
        ({"targets": [{"modelRewrite": "x\ny: z"}]}, "regex"),
        ({"targets": [{"modelRewrite": "x\n"}]}, "regex"),
        ({"targets": [{"modelRewrite": "x"}], "matches": [{"model": {"value": ""}}]}, "value"),
        ({"targets": [{"modelRewrite": "x"}], "matches": [{}]}, "model"),
        ({"targets": [{"modelRewrite": "x"}], "matches": [{"model": {"value": "m", "type": "Regex"}}]}, "type"),
    ],
)
def test_a_rule_that_is_none_is_refused_with_the_reason(rule: dict[str, object], why: str) -> None:
    raw = {"metadata": {"namespace": "default", "name": "r"}, "spec": {"poolRef": {"name": "a"}, "rules": [rule]}}
    with pytest.raises(msgspec.ValidationError, match=why):
        decode(InferenceModelRewrite, raw)
