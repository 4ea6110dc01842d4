from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.filters.sticky import Sticky
from argosy.decide.scheduling.pickers.softmax import Softmax
from argosy.decide.scheduling.plugins import COLUMNS, Asked
from argosy.decide.scheduling.scorers.dynamo import Dynamo
from argosy.decide.scheduling.scorers.expected_work import ExpectedWork, crowd
from argosy.decide.scheduling.scorers.least import Backlog, Prefill, Requests
from argosy.decide.scheduling.scorers.llm_d import KvUsage, Prefix, Queue
from argosy.decide.scheduling.scorers.lmetric import LMetric
from harness.candidates import Row, candidates_of
from harness.profiles import PLUGINS

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))
ASKED = Asked(10.0, 0.5)
LOADS = (
    Row(endpoint=A, held=1, foreign=1, backlog=4.0, under_way=9.0, matched=8.0),
    Row(endpoint=B, held=4, backlog=1.0, under_way=6.0, waiting=3.0, kv_usage=0.25),
    Row(endpoint=C, matched=2.0),
)
ALL = candidates_of(*LOADS).columns


@pytest.mark.parametrize(
    ("scorer", "costs"),
    [
        (Requests(), [2.0, 4.0, 0.0]),
        (Backlog(), [4.0, 1.0, 0.0]),
        (Prefill(), [6.0, 11.0, 8.0]),
        (Queue(), [0.5, 1.0, 0.0]),
        (KvUsage(), [0.0, 0.25, 0.0]),
        (Prefix(), pytest.approx([0.2, 1.0, 0.8])),
        (LMetric(), [6.0, 50.0, 8.0]),
        (Dynamo(), [4 + 2 + 9 + 10, 1 + 10 + 6 + 10, 8 + 10]),
        (Dynamo(prefill_load_scale=4.0, overlap_credit=0.5), [4 * 10 + 19, 4 * 11 + 16, 4 * 9 + 10]),
        (
            ExpectedWork(),
            [4 + 2 + 0.25 * crowd(2.0), 1 + 10 + 0.25 * crowd(4.0), 8 + 0.25 * crowd(0.0)],
        ),
    ],
)
def test_each_scorer_follows_its_formula(scorer: object, costs: list[float]) -> None:
    assert scorer.costs(ASKED, ALL) == costs  # type: ignore[attr-defined]


def test_equal_queues_cost_nothing_and_no_prompt_is_held_by_all() -> None:
    columns = candidates_of(Row(endpoint=A), Row(endpoint=B)).columns
    assert Queue().costs(Asked(), columns) == [0.0, 0.0]
    assert Prefix().costs(Asked(), columns) == [1.0, 1.0]


def test_a_session_an_adapter_and_slowness_change_the_expected_work() -> None:
    def costs(**said: object) -> list[float]:
        columns = candidates_of(Row(endpoint=A, **said), Row(endpoint=B)).columns  # type: ignore[arg-type]
        return list(ExpectedWork().costs(ASKED, columns))

    plain = costs()[1]
    assert costs(session=True) == [plain - 5.0, plain]
    assert costs(adapter=True) == [plain, plain + 16.0]
    assert costs(slowness=4.0) == [4 * plain, plain]


def test_uncached_blocks_weigh_more_where_others_wait_and_where_the_cache_turns_over() -> None:
    loads = (Row(endpoint=A, pressure=0.5), Row(endpoint=B, pressure=0.25), Row(endpoint=C))
    columns = candidates_of(*loads).columns
    assert ExpectedWork(request=0.0).costs(ASKED, columns) == [20.0, 15.0, 10.0]
    assert ExpectedWork(request=0.0).costs(Asked(10.0, busy=0.5), columns) == [25.0, 20.0, 15.0]
    busiest = ExpectedWork(request=0.0).costs(Asked(10.0, busy=1.0), columns)
    assert busiest == pytest.approx([40.0, 35.0, 30.0])


@given(st.floats(0.0, 1000.0), st.floats(0.01, 10.0))
def test_a_crowd_weighs_ever_more_and_never_leaps(requests: float, more: float) -> None:
    assert 0.0 < crowd(requests + more) - crowd(requests) <= more * 17.0 + 1e-6


def test_sticky_keeps_those_that_hold_most_of_it() -> None:
    assert Sticky().keeps(ASKED, ALL) == [True, False, False]
    assert Sticky(threshold=0.9).keeps(ASKED, ALL) == [False, False, False]


def test_sticky_lets_go_when_those_are_saturated() -> None:
    assert Sticky(saturated_blocks=3.0).keeps(ASKED, ALL) == [True, True, True]
    assert Sticky(saturated_blocks=4.0).keeps(ASKED, ALL) == [True, False, False]


def test_what_all_hold_is_held_by_none() -> None:
    columns = candidates_of(*(Row(endpoint=each, matched=9.0) for each in (A, B))).columns
    assert Sticky().keeps(ASKED, columns) == [False, False]


def order(dice: float, costs: list[float], suspects: tuple[bool, ...] = (), temperature: float = 0.5) -> list[int]:
    loads = [
        Row(endpoint=each, suspect=suspect) for each, suspect in zip((A, B, C), suspects or (False,) * 3, strict=True)
    ]
    columns = candidates_of(*loads).columns
    return list(Softmax(temperature=temperature).order(Asked(0.0, dice), costs, columns))


def test_softmax_draws_the_less_cost_the_likelier_and_the_others_follow_in_order() -> None:
    drawn = Counter(order(number / 1000, [3.0, 1.0, 2.0])[0] for number in range(1000))
    assert drawn[1] > drawn[2] > drawn[0] > 0
    assert order(0.999, [3.0, 1.0, 2.0]) == [0, 1, 2]
    assert order(1.0, [3.0, 1.0, 2.0]) == [0, 1, 2]
    assert order(0.999, [3.0, 1.0, 2.0], temperature=0.0) == [1, 2, 0]
    assert sorted(order(number / 10, [1.0, 1.0, 1.0])[0] for number in range(10)) == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_softmax_draws_a_suspect_only_among_suspects() -> None:
    assert {order(number / 10, [1.0, 1.0, 1.0], (True, False, True))[0] for number in range(10)} == {1}
    assert {order(number / 10, [1.0, 1.0, 1.0], (True, True, True))[0] for number in range(10)} == {0, 1, 2}


@pytest.mark.parametrize("kind", ["filters", "scorers", "pickers"])
def test_every_plugin_names_inputs_that_there_are(kind: str) -> None:
    plugins = getattr(PLUGINS, kind)
    assert plugins
    for plugin in plugins.values():
        assert set(plugin().inputs) <= COLUMNS
