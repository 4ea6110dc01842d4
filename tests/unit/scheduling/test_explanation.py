from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.objects import Key
from argosy.api.scheduling import PluginSpec, ProfileSpec
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.deciders.threshold import Outcome, Verdict
from argosy.decide.scheduling.explanation import MAX_NAMED, Explanation, Removed, explanation
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.profiles import PROFILES
from argosy.decide.scheduling.record import PrefillRecord, Record
from argosy.decide.scheduling.schedule import schedule
from harness.candidates import Row, candidates_of
from harness.profiles import DEFAULT_PROFILE, profile

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))


def explained(*rows: Row, endpoints: tuple[PoolEndpoint, ...] = (), **fields: Any) -> Explanation:
    values = {"request": "r", "at_s": 5.0, "pool": "default/p", "eligible": len(rows), **fields}
    return explanation(
        Record(candidates=candidates_of(*rows), profile=DEFAULT_PROFILE.spec, **values), endpoints, DEFAULT_PROFILE
    )


def test_the_runner_up_and_what_it_lost_by_are_named() -> None:
    said = explained(Row(endpoint=B, held=3), Row(endpoint=A, held=1, foreign=1), route="default/r", model="m")
    assert said.sentence == (
        "127.0.0.1:8000 was picked: 2 requests under way there; cost 1 against 1.562 of 127.0.0.2:8000."
    )
    assert (said.picked, said.fallbacks, said.runner_up, said.lost_by) == (str(A), (str(B),), str(B), 0.5625)
    assert [each.endpoint for each in said.candidates] == [str(A), str(B)]
    assert said.candidates[0].inputs["requests"] == 2.0
    assert (said.outcome, said.route, said.model) == ("under way", "default/r", "m")


def test_a_tie_is_said_to_be_one() -> None:
    said = explained(Row(endpoint=A, last_pick=2), Row(endpoint=B, last_pick=1), Row(endpoint=C, last_pick=3))
    assert said.sentence == (
        "127.0.0.2:8000 was picked: 0 requests under way there; as good as 2 others, and picked longest ago."
    )
    assert (said.tied, said.lost_by) == ((str(A), str(C)), 0.0)
    assert "as good as 1 other, and" in explained(Row(endpoint=A), Row(endpoint=B)).sentence


def test_one_that_failed_just_now_stands_behind_whatever_its_score() -> None:
    said = explained(Row(endpoint=A, suspect=True), Row(endpoint=B, held=1))
    assert said.sentence == (
        "127.0.0.2:8000 was picked: 1 request under way there; 127.0.0.1:8000 had just failed to take a request."
    )
    assert said.lost_by is None
    assert said.tied == ()


def test_what_the_pick_holds_of_the_prompt_is_said() -> None:
    said = explained(Row(endpoint=A, matched=4.0), Row(endpoint=B), asked=Asked(5.0))
    assert said.sentence.startswith("127.0.0.1:8000 was picked: it holds 80% of the prompt, 0 requests under way there")
    assert (said.prompt_blocks, said.prompt_matched, said.profile) == (5.0, 4.0, "default")


@pytest.mark.parametrize("name", PROFILES)
def test_a_decision_about_a_prompt_can_be_explained_whatever_the_profile_looks_at(name: str) -> None:
    mine, rows = profile(name), candidates_of(Row(endpoint=A, matched=4.0), Row(endpoint=B, matched=4.0, held=1))
    looked_at = msgspec.structs.replace(rows, columns={each: rows.columns[each] for each in mine.columns})
    record = Record(request="r", at_s=5.0, eligible=2, profile=mine.spec, asked=Asked(5.0), candidates=looked_at)
    said = explanation(record, (), mine)
    assert "was picked: it holds 80% of the prompt, " in said.sentence
    assert (said.profile, said.prompt_matched) == (name, 4.0)


def test_a_filter_that_left_all_others_out_is_named() -> None:
    sticky = profile("sticky-until-saturated")
    record = Record(
        request="r",
        at_s=5.0,
        eligible=2,
        profile=sticky.spec,
        asked=Asked(5.0),
        candidates=candidates_of(Row(endpoint=A, matched=5.0), Row(endpoint=B)),
    )
    said = explanation(record, (), sticky)
    assert said.sentence.endswith("the filter sticky left out all others.")
    assert [each.left_out_by for each in said.candidates] == ["", "sticky"]
    assert said.lost_by is None


def test_each_scorer_is_told_with_its_weight() -> None:
    weighted = profile("weighted")
    record = Record(
        request="r",
        at_s=5.0,
        eligible=2,
        profile=weighted.spec,
        candidates=candidates_of(Row(endpoint=A), Row(endpoint=B, held=1)),
    )
    second = explanation(record, (), weighted).candidates[1]
    assert [(each.scorer, each.weight, each.cost) for each in second.judgements] == [
        ("queue", 2.0, 1.0),
        ("kv-usage", 2.0, 0.0),
        ("prefix", 3.0, 1.0),
    ]
    assert second.cost == 5.0


def test_a_decision_by_a_profile_that_is_forgotten_is_not_made_again() -> None:
    record = Record(request="r", at_s=5.0, eligible=1, candidates=candidates_of(Row(endpoint=A)))
    said = explanation(record, (), None)
    assert said.sentence == "It was decided by a profile that is not known any more."
    assert said.candidates == ()


def test_the_only_one_needs_no_comparison() -> None:
    said = explained(Row(endpoint=A, held=9))
    assert said.sentence == "127.0.0.1:8000 was picked: no other endpoint of pool default/p could serve."
    assert (said.runner_up, said.lost_by, said.fallbacks) == ("", None, ())


def test_a_refusal_says_its_reason() -> None:
    said = explained(refused="no_endpoints")
    assert (said.sentence, said.outcome, said.picked) == ("It was refused: no_endpoints.", "refused", "")


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"served": str(A)}, f"under way by {A}"),
        ({"served": str(A), "answered": True, "took_s": 1.25}, f"answered by {A} after 1.250 s"),
        ({"took_s": 0.5}, "ended without an answer of 2xx after 0.500 s"),
    ],
)
def test_what_came_of_it_is_said(fields: dict[str, Any], outcome: str) -> None:
    assert explained(Row(endpoint=A), **fields).outcome == outcome


def test_endpoints_that_were_removed_are_counted_by_reason_and_some_are_named() -> None:
    def endpoint(number: int, *, ready: bool) -> PoolEndpoint:
        return PoolEndpoint(endpoint=Endpoint(f"127.0.1.{number}", 1), pod=Key("d", "p"), ready=ready, labels={})

    waiting = [endpoint(number, ready=False) for number in range(MAX_NAMED + 2)]
    outside = endpoint(99, ready=True)
    said = explained(Row(endpoint=A), endpoints=(*waiting, outside), subset=frozenset({str(A)}))
    assert said.removed == (
        Removed(
            why="it is not ready",
            count=MAX_NAMED + 2,
            endpoints=tuple(str(each.endpoint) for each in waiting[:MAX_NAMED]),
        ),
        Removed(why="it is not in the subset that the proxy allows", count=1, endpoints=(str(outside.endpoint),)),
    )


loads = st.builds(
    Row,
    endpoint=st.builds(Endpoint, st.just("127.0.0.1"), st.integers(1, 9)),
    held=st.integers(0, 3),
    foreign=st.integers(0, 3),
    slowness=st.sampled_from([1.0, 4.0]),
    suspect=st.booleans(),
    last_pick=st.integers(0, 9),
)


@given(st.lists(loads, min_size=1, unique_by=lambda load: load.endpoint))
def test_a_decision_made_once_more_is_the_same(candidates: list[Row]) -> None:
    decided = schedule(DEFAULT_PROFILE, Asked(), candidates_of(*candidates))
    said = explained(*candidates)
    assert (said.picked, *said.fallbacks) == tuple(map(str, decided.endpoints))


def test_a_pick_by_another_picker_is_not_said_to_be_by_turn_or_by_cost() -> None:
    drawn = profile(ProfileSpec(name="mine", scorers=(PluginSpec(type="requests"),), picker=PluginSpec(type="softmax")))

    def sentence(dice: float, *rows: Row) -> str:
        candidates, asked = candidates_of(*rows), Asked(dice=dice)
        record = Record(request="r", at_s=5.0, eligible=2, profile=drawn.spec, asked=asked, candidates=candidates)
        return explanation(record, (), drawn).sentence

    a, b = "127.0.0.1:8000", "127.0.0.2:8000"
    by = f"{b} was picked: 1 request under way there; chosen by the picker softmax at cost 1, though {a} costs 0."
    assert sentence(1.0, Row(endpoint=A), Row(endpoint=B, held=1)) == by
    assert sentence(0.0, Row(endpoint=A), Row(endpoint=B)).endswith(
        "as good as 1 other, and chosen by the picker softmax."
    )


def prefill_record(verdict: Outcome, **more: Any) -> PrefillRecord:
    numbers = Verdict(outcome=verdict, threshold_tokens=256, prompt_tokens=600.0, uncached_tokens=500.4, error=0.04)
    return PrefillRecord(verdict=numbers, **more)


def test_why_a_prompt_stayed_at_its_decode_worker_is_said_with_its_numbers() -> None:
    said = explained(Row(endpoint=A), Row(endpoint=B, held=1), prefill=prefill_record("set_aside"))
    assert said.sentence.endswith(
        " Prefilled there as well: the prefill workers have just failed (about 500 of 600 prompt tokens are not cached "
        "there, threshold 256, estimates off by 4%)."
    )
    assert said.prefill is not None
    assert (said.prefill.verdict.outcome, said.prefill.candidates) == ("set_aside", ())


def test_a_leg_is_explained_with_the_workers_that_were_judged_for_it() -> None:
    rows = candidates_of(Row(endpoint=B, held=1), Row(endpoint=C))
    leg = prefill_record("prefill", eligible=2, candidates=rows, picked=C, outcome="done", took_s=0.25)
    said = explained(Row(endpoint=A), Row(endpoint=B), prefill=leg)
    assert "127.0.0.3:8000 computed the prompt after 0.250 s: about 500 of 600" in said.sentence
    assert said.prefill is not None
    assert [each.endpoint for each in said.prefill.candidates] == [str(C), str(B)]
    under_way = prefill_record("prefill", eligible=2, candidates=rows, picked=C)
    assert "is computing the prompt: " in explained(Row(endpoint=A), Row(endpoint=B), prefill=under_way).sentence


def test_every_verdict_against_a_leg_has_its_words() -> None:
    for outcome in get_args(Outcome):
        if outcome != "prefill":
            said = explained(Row(endpoint=A), Row(endpoint=B, held=1), prefill=prefill_record(outcome))
            assert "Prefilled there as well: " in said.sentence
