"""Plugins of somebody else that raise, or give what cannot be used: they cost a request nothing but their judgement."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.scheduling import Plugins, PluginSpec, ProfileSpec
from argosy.base.endpoint import Endpoint
from argosy.base.errors import UserError
from argosy.decide.scheduling.explanation import explanation
from argosy.decide.scheduling.plugins import MAX_WHY, Asked, Plugin
from argosy.decide.scheduling.profiles import BUILT_IN, PROFILES, Profile, built
from argosy.decide.scheduling.record import Record
from argosy.decide.scheduling.recorded import decision_line, recorded
from argosy.decide.scheduling.schedule import schedule
from harness.candidates import Row, candidates_of, rows_of
from harness.profiles import DEFAULT_PROFILE, PLUGINS

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))
SEEN = candidates_of(Row(endpoint=A, held=2), Row(endpoint=B, matched=4.0), Row(endpoint=C, held=1))
ASKED = Asked(10.0, 0.5)
SUSPECT = candidates_of(Row(endpoint=A), Row(endpoint=B, suspect=True), Row(endpoint=C))
Doing = Callable[[int], Any]


class Unspeakable(Exception):  # noqa: N818 (named for what it is)
    def __str__(self) -> str:
        raise ValueError


def raising(error: Exception) -> Doing:
    def do(_count: int) -> Any:
        raise error

    return do


def profile_with(kind: str, doing: Doing) -> Profile:
    """Give a profile in which a plugin `wild` of this kind says what `doing` gives for so many candidates."""

    class Wild(Plugin, frozen=True, kw_only=True):
        inputs = ("requests",)

        def keeps(self, _asked: Asked, columns: Any) -> Any:
            return doing(len(columns["requests"]))

        costs = keeps

        def order(self, _asked: Asked, costs: Any, _columns: Any) -> Any:
            return doing(len(costs))

    plugins = Plugins(**{field: {**getattr(PLUGINS, field), "wild": Wild} for field in Plugins.__struct_fields__})
    spec, wild = ProfileSpec(name="mine", scorers=(PluginSpec(type="requests"),)), PluginSpec(type="wild")
    more = {"filter": {"filters": (wild,)}, "scorer": {"scorers": (*spec.scorers, wild)}, "picker": {"picker": wild}}
    return built(msgspec.structs.replace(spec, **more[kind]), plugins)  # type: ignore[arg-type]


ALIKE = {
    "it raises": raising(ZeroDivisionError("so")),
    "it raises what cannot be said": raising(Unspeakable()),
    "it says nothing": lambda _count: None,
    "it says a number": lambda _count: 3,
    "it says too little": lambda count: [0] * (count - 1),
    "it says too much": lambda count: [*range(count), count],
    "it says it bit by bit": lambda count: (number for number in range(count + 1)),
}
OF_SCORERS = {
    "no number": lambda count: [math.nan] * count,
    "without end": lambda count: [math.inf] + [0.0] * (count - 1),
    "both ends": lambda count: [math.inf] + [-math.inf] * (count - 1),
    "words": lambda count: ["much"] * count,
}
OF_PICKERS = {
    "one twice": lambda count: [0] * count,
    "one that is not there": lambda count: [*range(1, count), -1],
    "halves": lambda count: [number / 2 for number in range(count)],
}


@pytest.mark.parametrize(
    ("kind", "doing"),
    [
        *((kind, doing) for kind in ("filter", "scorer", "picker") for doing in ALIKE.values()),
        *(("scorer", doing) for doing in OF_SCORERS.values()),
        *(("picker", doing) for doing in OF_PICKERS.values()),
    ],
)
def test_where_a_plugin_fails_the_built_in_default_decides_and_the_failure_is_said(kind: str, doing: Doing) -> None:
    decision = schedule(profile_with(kind, doing), ASKED, SEEN)
    assert decision.failure is not None
    assert (decision.failure.kind, decision.failure.plugin) == (kind, "wild")
    assert msgspec.structs.replace(decision, failure=None) == schedule(DEFAULT_PROFILE, ASKED, SEEN)


VALUES = st.one_of(st.floats(), st.integers(-(10**400), 10**400), st.none(), st.text(max_size=2), st.booleans())


@pytest.mark.parametrize("kind", ["filter", "scorer", "picker"])
@given(said=st.one_of(VALUES, st.lists(VALUES, max_size=4), st.lists(st.integers(0, 2), max_size=3)))
def test_whatever_a_plugin_says_every_candidate_is_ranked_once(kind: str, said: object) -> None:
    decision = schedule(profile_with(kind, lambda _count: said), ASKED, SUSPECT)
    assert sorted(decision.order) == [0, 1, 2]
    assert all(map(math.isfinite, decision.costs))


def test_costs_whose_sum_has_no_end_are_costs_still() -> None:
    decision = schedule(profile_with("scorer", lambda count: [1e308] * count), ASKED, SEEN)
    assert decision.failure is None


def test_a_profile_without_failures_says_none_and_is_the_built_in_one_by_another_way() -> None:
    assert schedule(DEFAULT_PROFILE, ASKED, SEEN) == schedule(BUILT_IN, ASKED, SEEN)
    assert schedule(DEFAULT_PROFILE, ASKED, SEEN).failure is None
    assert PROFILES["default"] == BUILT_IN.spec


def test_what_a_plugin_says_of_its_failure_is_one_short_line_of_ascii() -> None:
    decision = schedule(profile_with("scorer", raising(ValueError("é\r\nx-evil: 1\0" + "y" * 5000))), ASKED, SEEN)
    assert decision.failure is not None
    assert decision.failure.why.startswith(r"ValueError: \xe9\r\nx-evil: 1\x00yyy")
    assert len(decision.failure.why) == MAX_WHY
    assert decision.failure.why.isprintable()


def test_a_decision_that_a_plugin_failed_in_is_explained_as_it_was_though_it_fails_no_more() -> None:
    moods = iter((ZeroDivisionError("so"), None))

    def moody(count: int) -> Any:
        if (error := next(moods)) is not None:
            raise error
        return [float(-number) for number in range(count)]

    profile = profile_with("scorer", moody)
    decision = schedule(profile, ASKED, SEEN)
    record = Record(
        request="r",
        at_s=5.0,
        pool="default/p",
        eligible=3,
        profile=profile.spec,
        asked=ASKED,
        candidates=decision.candidates,
        failure=decision.failure,
    )
    for each in (record, (recorded([decision_line(0, record).encode()], "r") or (record,))[0]):
        for known in (profile, None):
            said = explanation(each, (), known)
            assert said.sentence == (
                "scorer wild failed: ZeroDivisionError: so; the default decided: 127.0.0.2:8000 was picked: "
                "it holds 40% of the prompt, 0 requests under way there; cost 6.25 against 10.56 of 127.0.0.3:8000."
            )
            assert (said.failure, said.profile, said.picked) == (decision.failure, "mine", str(B))
            assert [each.scorer for each in said.candidates[0].judgements] == ["expected-work"]


@pytest.mark.parametrize("of", ["columns", "column"])
def test_a_plugin_that_changes_what_it_is_given_changes_nothing_for_others(of: str) -> None:
    class Greedy(Plugin, frozen=True, kw_only=True):
        inputs = ("requests",)

        def costs(self, _asked: Asked, columns: Any) -> list[float]:
            costs = list(columns["requests"])
            if of == "columns":
                columns.clear()
            else:
                columns["requests"].clear()
            return costs

    plugins = Plugins(filters={}, scorers={"wild": Greedy}, pickers=PLUGINS.pickers)
    profile = built(ProfileSpec(name="mine", scorers=(PluginSpec(type="wild"),)), plugins)
    seen = candidates_of(*rows_of(SEEN))
    decision = schedule(profile, ASKED, seen)
    assert decision.failure is not None
    assert decision.endpoints == schedule(DEFAULT_PROFILE, ASKED, SEEN).endpoints
    assert decision.candidates == seen == SEEN


class Costly(Plugin, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        raise KeyError("house")


class Refusing(Plugin, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        raise UserError("house.py cannot be loaded")


class Mute(Plugin, frozen=True, kw_only=True):
    inputs = ("requests",)


class Fixed(Plugin, frozen=True, kw_only=True):
    inputs = ("requests",)
    costs = 3


class Blind(Plugin, frozen=True, kw_only=True):
    def costs(self, _asked: Asked, _columns: Any) -> list[float]:
        return []


class Dreaming(Blind, frozen=True, kw_only=True):
    inputs = ("requests", "weather")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Costly, r"KeyError\('house'\)"),
        (Refusing, "house.py cannot be loaded; ask whoever made it"),
        (Mute, "no attribute 'costs'"),
        (Fixed, "its `costs` is nothing that can be called"),
        (Blind, "no attribute 'inputs'"),
        (Dreaming, "it asks for the column weather; there are adapter, backlog, foreign, held"),
    ],
)
def test_a_plugin_that_can_never_decide_is_refused_before_it_has_to(kind: type[Any], why: str) -> None:
    plugins = Plugins(filters={}, scorers={"wild": kind}, pickers=PLUGINS.pickers)
    with pytest.raises(UserError, match=rf"scorers: `wild` cannot be used: .*{why}"):
        built(ProfileSpec(name="mine", scorers=(PluginSpec(type="wild"),)), plugins)


def test_weights_and_parameters_are_finite_numbers() -> None:
    endless = PluginSpec(type="expected-work", parameters={"delay": math.inf})
    with pytest.raises(UserError, match="scorers: `delay` of `expected-work` is inf; give it a finite number"):
        built(ProfileSpec(name="mine", scorers=(endless,)), PLUGINS)
    with pytest.raises(UserError, match="the weight of `requests` is nan; give it a finite number"):
        built(ProfileSpec(name="mine", scorers=(PluginSpec(type="requests", weight=math.nan),)), PLUGINS)
