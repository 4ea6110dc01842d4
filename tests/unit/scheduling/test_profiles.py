import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.scheduling import PluginSpec, ProfileSpec
from argosy.base.endpoint import Endpoint
from argosy.base.errors import UserError
from argosy.decide.scheduling.loads import Load
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.profiles import PROFILES, named
from argosy.decide.scheduling.schedule import schedule
from harness.profiles import profile

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))
LOADS = st.lists(
    st.builds(
        Load,
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
def test_every_profile_ranks_all_candidates_once(name: str, loads: list[Load], dice: float) -> None:
    decision = schedule(profile(name), Asked(10.0, dice), loads)
    assert sorted(load.endpoint for load in decision.candidates) == sorted(load.endpoint for load in loads)
    assert {len(decision.costs), len(decision.left_out), *(len(part.costs) for part in decision.parts)} == {len(loads)}
    total = [
        sum(part.weight * part.costs[index] for part in decision.parts) for index in range(len(decision.candidates))
    ]
    assert list(decision.costs) == pytest.approx(total)


def test_weights_count() -> None:
    loads = (Load(endpoint=A, held=5, matched=10.0), Load(endpoint=B))
    for queue, picked in ((1.0, A), (3.0, B)):
        scorers = (PluginSpec(type="queue", weight=queue), PluginSpec(type="prefix", weight=2.0))
        decision = schedule(profile(ProfileSpec(name="mine", scorers=scorers)), Asked(10.0), loads)
        assert decision.endpoints[0] == picked


def test_what_a_filter_leaves_out_is_a_fallback_still() -> None:
    loads = (
        Load(endpoint=A, matched=9.0, backlog=100.0),
        Load(endpoint=B),
        Load(endpoint=C, matched=10.0, backlog=90.0),
    )
    decision = schedule(profile("sticky-until-saturated"), Asked(10.0), loads)
    assert decision.endpoints == (C, A, B)
    assert decision.left_out == ("", "", "sticky")


def test_filters_follow_each_other_and_the_last_ones_stay() -> None:
    strict, loose = (PluginSpec(type="sticky", parameters={"threshold": value}) for value in (1.0, 0.5))
    spec = ProfileSpec(name="mine", filters=(loose, strict))
    loads = (Load(endpoint=A, matched=6.0), Load(endpoint=B), Load(endpoint=C, matched=7.0))
    assert schedule(profile(spec), Asked(10.0), loads).left_out == ("", "", "sticky")


def test_round_robin_takes_turns() -> None:
    loads = (
        Load(endpoint=A, last_pick=3, held=1),
        Load(endpoint=B, last_pick=1, held=9),
        Load(endpoint=C, last_pick=2),
    )
    assert schedule(profile("round-robin"), Asked(), loads).endpoints == (B, C, A)


def test_names_and_parameters_that_are_none_are_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match="no `quick`; there are default, round-robin"):
        named("quick")
    with pytest.raises(UserError, match="scorers: there is no plugin `magic`; there are backlog, "):
        profile(ProfileSpec(name="mine", scorers=(PluginSpec(type="magic"),)))
    with pytest.raises(UserError, match=r"filters: parameters of `sticky`: .*threshhold"):
        profile(ProfileSpec(name="mine", filters=(PluginSpec(type="sticky", parameters={"threshhold": 1}),)))
    with pytest.raises(UserError, match="picker: there is no plugin `dice`"):
        profile(ProfileSpec(name="mine", picker=PluginSpec(type="dice")))
