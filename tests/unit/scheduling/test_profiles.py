import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.scheduling import PluginSpec, ProfileSpec
from argosy.base.endpoint import Endpoint
from argosy.base.errors import UserError
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.profiles import PROFILES, named
from argosy.decide.scheduling.schedule import schedule
from harness.candidates import Row, candidates_of
from harness.profiles import profile

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))
LOADS = st.lists(
    st.builds(
        Row,
        endpoint=st.builds(Endpoint, st.just("127.0.0.1"), st.integers(1, 30)),
        held=st.integers(0, 3),
        backlog=st.sampled_from([0.0, 5.0, 2000.0]),
        matched=st.sampled_from([0.0, 4.0, 9.0, 10.0]),
        suspect=st.booleans(),
        last_pick=st.integers(0, 3),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda load: load.endpoint,
)


@pytest.mark.parametrize("name", PROFILES)
@given(loads=LOADS, dice=st.floats(0.0, 1.0))
def test_every_profile_ranks_all_candidates_once(name: str, loads: list[Row], dice: float) -> None:
    decision = schedule(profile(name), Asked(10.0, dice), candidates_of(*loads))
    assert sorted(decision.order) == list(range(len(loads)))
    assert {len(decision.costs), len(decision.left_out), *(len(part.costs) for part in decision.parts)} == {len(loads)}
    total = [sum(part.weight * part.costs[index] for part in decision.parts) for index in range(len(loads))]
    assert list(decision.costs) == pytest.approx(total)


def test_weights_count() -> None:
    loads = (Row(endpoint=A, held=5, matched=10.0), Row(endpoint=B))
    for queue, picked in ((1.0, A), (3.0, B)):
        scorers = (PluginSpec(type="queue", weight=queue), PluginSpec(type="prefix", weight=2.0))
        decision = schedule(profile(ProfileSpec(name="mine", scorers=scorers)), Asked(10.0), candidates_of(*loads))
        assert decision.endpoints[0] == picked


def test_what_a_filter_leaves_out_is_a_fallback_still() -> None:
    loads = (
        Row(endpoint=A, matched=9.0, backlog=100.0),
        Row(endpoint=B),
        Row(endpoint=C, matched=10.0, backlog=90.0),
    )
    decision = schedule(profile("sticky-until-saturated"), Asked(10.0), candidates_of(*loads))
    assert decision.endpoints == (C, A, B)
    assert decision.left_out == ["", "sticky", ""]


def test_filters_follow_each_other_and_the_last_ones_stay() -> None:
    strict, loose = (PluginSpec(type="sticky", parameters={"threshold": value}) for value in (1.0, 0.5))
    spec = ProfileSpec(name="mine", filters=(loose, strict))
    loads = (Row(endpoint=A, matched=6.0), Row(endpoint=B), Row(endpoint=C, matched=7.0))
    assert schedule(profile(spec), Asked(10.0), candidates_of(*loads)).left_out == ["", "sticky", ""]


def test_round_robin_takes_turns() -> None:
    loads = (
        Row(endpoint=A, last_pick=3, held=1),
        Row(endpoint=B, last_pick=1, held=9),
        Row(endpoint=C, last_pick=2),
    )
    assert schedule(profile("round-robin"), Asked(), candidates_of(*loads)).endpoints == (B, C, A)


def test_names_and_parameters_that_are_none_are_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match="no `quick`; there are default, round-robin"):
        named("quick")
    with pytest.raises(UserError, match="scorers: there is no plugin `magic`; there are backlog, "):
        profile(ProfileSpec(name="mine", scorers=(PluginSpec(type="magic"),)))
    with pytest.raises(UserError, match=r"filters: parameters of `sticky`: .*threshhold"):
        profile(ProfileSpec(name="mine", filters=(PluginSpec(type="sticky", parameters={"threshhold": 1}),)))
    with pytest.raises(UserError, match="picker: there is no plugin `dice`"):
        profile(ProfileSpec(name="mine", picker=PluginSpec(type="dice")))


def test_prompts_matter_to_whoever_counts_them_in_any_way() -> None:
    of_prompts = {name for name in PROFILES if profile(name).of_prompts}
    assert set(PROFILES) - of_prompts == {"round-robin", "least-requests"}
    assert all("matched" in profile(name).columns for name in PROFILES)
