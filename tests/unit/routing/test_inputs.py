import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.names import INPUT_HEADER_NAMES, STEERING_HEADERS
from argosy.decide.routing.inputs import ALL_INPUTS, DEFAULT_FLOW, NO_INPUTS, RequestInputs, request_inputs

SAID = {
    "x-llm-d-inference-objective": "premium",
    "x-llm-d-inference-fairness-id": "team-a",
    "x-llm-d-slo-ttft-ms": "250",
    "x-llm-d-slo-tpot-ms": "12.5",
    "x-session-id": "s1",
    "x-argosy-explain": "1",
}
READ = RequestInputs(objective="premium", fairness_id="team-a", ttft_ms=250, tpot_ms=12.5, session="s1", explain=True)
OLD_NAMES = {
    "x-gateway-inference-objective": "premium",
    "x-gateway-inference-fairness-id": "team-a",
    "x-slo-ttft-ms": "250",
    "x-slo-tpot-ms": "12.5",
    "x-session-token": "s1",
    "x-argosy-explain": "true",
}


def test_both_generations_of_names_are_read_and_the_newer_one_counts() -> None:
    assert request_inputs(SAID, ALL_INPUTS) == READ
    assert request_inputs(OLD_NAMES, ALL_INPUTS) == READ
    others = dict.fromkeys(OLD_NAMES, "7")
    assert request_inputs(others | SAID, ALL_INPUTS) == READ


def test_what_is_not_believed_is_as_if_not_said() -> None:
    assert request_inputs(SAID, frozenset()) is NO_INPUTS
    assert request_inputs({"accept": "*/*"}, ALL_INPUTS) is NO_INPUTS
    assert request_inputs(SAID, {"session"}) == RequestInputs(session="s1")
    assert request_inputs(SAID, {"objective"}) == RequestInputs(objective="premium")
    assert request_inputs(SAID, {"fairness"}) == RequestInputs(fairness_id="team-a")
    assert request_inputs(SAID, {"slo"}) == RequestInputs(ttft_ms=250, tpot_ms=12.5)
    assert request_inputs(SAID, {"explain"}) == RequestInputs(explain=True)


def test_nothing_said_has_defaults() -> None:
    assert (NO_INPUTS.objective, NO_INPUTS.fairness_id, NO_INPUTS.session) == (None, DEFAULT_FLOW, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-llm-d-inference-objective", "Premium"),
        ("x-llm-d-inference-objective", "a" * 254),
        ("x-llm-d-inference-objective", "a,b"),
        ("x-llm-d-inference-fairness-id", "a b"),
        ("x-llm-d-inference-fairness-id", "a" * 257),
        ("x-llm-d-inference-fairness-id", "team-a,team-b"),
        ("x-llm-d-slo-ttft-ms", "0"),
        ("x-llm-d-slo-ttft-ms", "-1"),
        ("x-llm-d-slo-ttft-ms", "1e9"),
        ("x-llm-d-slo-ttft-ms", "nan"),
        ("x-llm-d-slo-tpot-ms", "99999999"),
        ("x-llm-d-slo-tpot-ms", "\u0661"),
        ("x-session-id", ""),
        ("x-session-id", "caf\u00e9"),
        ("x-session-id", "a\nb"),
        ("x-argosy-explain", "0"),
        ("x-argosy-explain", "yes"),
    ],
)
def test_a_value_of_another_form_counts_as_not_said(name: str, value: str) -> None:
    assert request_inputs({name: value}, ALL_INPUTS) == NO_INPUTS


def test_the_longest_values_are_taken() -> None:
    headers = {"x-llm-d-inference-objective": "a" * 253, "x-session-id": "~" * 256, "x-slo-ttft-ms": "9999999.999999"}
    read = request_inputs(headers, ALL_INPUTS)
    assert (read.objective, read.session, read.ttft_ms) == ("a" * 253, "~" * 256, 9999999.999999)


@given(st.dictionaries(st.sampled_from(INPUT_HEADER_NAMES), st.text(max_size=400)))
def test_whatever_is_said_it_is_bounded(headers: dict[str, str]) -> None:
    read = request_inputs(headers, ALL_INPUTS)
    for word in (read.objective or "", read.fairness_id, read.session or ""):
        assert len(word) <= 256
        assert word.isascii()
        assert "," not in word
    for number in (read.ttft_ms, read.tpot_ms):
        assert number is None or 0 < number < 1e7


def test_no_header_steers_and_is_an_input() -> None:
    assert not set(INPUT_HEADER_NAMES) & set(STEERING_HEADERS)
    assert len(set(INPUT_HEADER_NAMES)) == len(INPUT_HEADER_NAMES)
