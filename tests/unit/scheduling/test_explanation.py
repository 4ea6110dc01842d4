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
from argosy.engines.moved import REASONS
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


NUMBERS = (
    "about 600 prompt tokens (estimates off by 4% lately), of which 100 are cached at 127.0.0.1:8000, so 500 to "
    "compute, threshold 256"
)


def split(leg: PrefillRecord, **more: Any) -> Explanation:
    """Give what is said of a request that A was picked for."""
    return explained(Row(endpoint=A), Row(endpoint=B, held=1), prefill=leg, picked=A, **more)


def test_why_a_prompt_stayed_at_its_decode_worker_is_said_with_its_numbers() -> None:
    said = split(prefill_record("set_aside"))
    assert said.sentence.endswith(
        " 127.0.0.1:8000 computes the prompt itself, as every prefill worker that could have has just failed, and gets "
        f"no legs for some seconds: {NUMBERS.replace('at 127.0.0.1:8000', 'there')}."
    )
    assert said.prefill is not None
    assert (said.prefill.verdict.outcome, said.prefill.candidates) == ("set_aside", ())


def test_a_prompt_that_cannot_be_counted_and_estimates_that_were_never_checked_have_no_numbers() -> None:
    numbers = Verdict(outcome="no_prompt", threshold_tokens=256)
    assert split(PrefillRecord(verdict=numbers)).sentence.endswith("no prompt that is known to be one: threshold 256.")
    unchecked = Verdict(outcome="below_threshold", threshold_tokens=256, prompt_tokens=60.0, uncached_tokens=60.0)
    assert "about 60 prompt tokens, of which 0 are" in split(PrefillRecord(verdict=unchecked)).sentence


def leg_record(outcome: str, **more: Any) -> PrefillRecord:
    rows = candidates_of(Row(endpoint=B, held=1), Row(endpoint=C))
    return prefill_record("prefill", eligible=2, candidates=rows, picked=C, outcome=outcome, **more)


def test_a_leg_is_explained_with_the_workers_that_were_judged_for_it() -> None:
    said = split(leg_record("done", took_s=0.25, prompt_tokens=640, transfer="moved", moved_tokens=639))
    assert said.sentence.endswith(
        " 127.0.0.3:8000 computed the prompt, 640 tokens, in 0.250 s; 639 of 640 moved, and the decode worker computed "
        f"1: {NUMBERS}."
    )
    assert said.prefill is not None
    assert [each.endpoint for each in said.prefill.candidates] == [str(C), str(B)]
    assert (said.prefill.transfer, said.prefill.moved_tokens) == ("moved", 639)
    assert " is computing the prompt: " in split(leg_record("")).sentence


@pytest.mark.parametrize(
    ("transfer", "words"),
    [
        ("", "the decode worker has not answered yet"),
        ("moved", "7 tokens moved"),
        ("damaged", "the state did not arrive, as it was damaged, and the decode worker computed the prompt"),
        ("unanswered", "the decode worker gave no answer, so whether the state arrived is not known"),
        ("untold", "whether the state arrived, the engine of the decode worker does not tell"),
    ],
)
def test_what_became_of_a_state_is_said_and_nothing_that_is_not_known(transfer: str, words: str) -> None:
    said = split(leg_record("done", took_s=0.25, transfer=transfer, moved_tokens=7))
    assert f" computed the prompt in 0.250 s; {words}: about" in said.sentence


def test_every_reason_for_which_a_state_does_not_come_has_its_words() -> None:
    sentences = {split(leg_record("done", transfer=why)).sentence for why in REASONS}
    assert len(sentences) == len(REASONS)
    assert all("the state did not arrive, as " in sentence for sentence in sentences)


def test_how_a_leg_failed_is_said_and_that_a_client_left() -> None:
    late = split(leg_record("timeout", took_s=60.0)).sentence
    assert (
        " 127.0.0.3:8000 was to compute the prompt, but it had not answered after 60.000 s, so the prompt was "
        "left to the decode worker: "
    ) in late
    assert "was computing the prompt, but the client left after 0.100 s: " in (
        split(leg_record("cancelled", took_s=0.1)).sentence
    )
    assert "the client left: " in split(leg_record("cancelled")).sentence


def test_legs_of_the_same_prompt_are_told_of() -> None:
    assert split(leg_record("", alike=1)).sentence.endswith(
        " The same prompt was being computed in another leg then: each request has a leg of its own."
    )
    assert "in 2 other legs then" in split(leg_record("", alike=2)).sentence


def test_a_request_that_is_refused_for_want_of_a_prefill_worker_says_which_and_its_numbers() -> None:
    rows = (Row(endpoint=A), Row(endpoint=B, held=1))
    nobody = explained(*rows, prefill=prefill_record("no_prefill_worker"), refused="prefill_failed")
    assert nobody.sentence == (
        "It was refused: prefill_failed. No prefill worker is ready, and onPrefillFailure is fail: "
        f"{NUMBERS.replace('127.0.0.1:8000', 'the decode worker')}."
    )
    failed = split(leg_record("refused", took_s=0.001), refused="prefill_failed")
    assert failed.outcome == "refused"
    assert failed.sentence.endswith(
        " 127.0.0.3:8000 was to compute the prompt, but it took no connection after 0.001 s, and onPrefillFailure is "
        f"fail: {NUMBERS}."
    )


def test_every_verdict_against_a_leg_has_its_words() -> None:
    for outcome in get_args(Outcome):
        if outcome != "prefill":
            said = split(prefill_record(outcome))
            assert " 127.0.0.1:8000 computes the prompt itself, as " in said.sentence
