import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from argosy.edge.http.exposition import family_sums, samples

PAGE = b"""# HELP vllm:num_requests_running Number of requests in vllm:num_requests_running batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="a}b\\" 7 {"} 2 1395066363000
vllm:num_requests_waiting_by_reason{reason="capacity"} 9.0
vllm:num_requests_waiting 4
other{name="
vllm:kv_cache_usage_perc{} NaN
vllm:empty
vllm:last 1.5e1"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vllm:num_requests_running", 5.0),
        ("vllm:num_requests_waiting", 4.0),
        ("vllm:num_requests_waiting_by_reason", 9.0),
        ("vllm:last", 15.0),
        ("vllm:kv_cache_usage_perc", None),
        ("vllm:empty", None),
        ("vllm:absent", None),
        ("num_requests_running", None),
    ],
)
def test_a_family_is_the_sum_of_its_series(name: str, value: float | None) -> None:
    assert family_sums(PAGE, [name]).get(name) == value


def test_a_page_that_begins_with_the_family_is_read_too() -> None:
    assert family_sums(b"a 1\na 2\nab 5\n", ["a", "ab"]) == {"a": 3.0, "ab": 5.0}


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.floats(allow_nan=True), max_size=5))
def test_whatever_a_client_library_writes_is_read(series: dict[str, float]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("wanted", "Wanted", ["label"], registry=registry)
    Gauge("wanted_not", "Not", registry=registry).set(5)
    for label, value in series.items():
        gauge.labels(label).set(value)
    finite = [value for value in series.values() if math.isfinite(value)]
    is_told = finite and math.isfinite(sum(finite))
    assert family_sums(generate_latest(registry), ["wanted"]) == ({"wanted": sum(finite)} if is_told else {})


def test_a_sum_beyond_every_number_is_left_out() -> None:
    assert family_sums(b'a{b="1"} 1e308\na{b="2"} 1e308\n', ["a"]) == {}


@pytest.mark.parametrize(
    ("line", "name", "labels", "value"),
    [
        (b"a 1", "a", (), 1.0),
        (b"a_total{} 1 1700000000000", "a_total", (), 1.0),
        (b'a{z="1",b="x, y=\\"}\\n\\\\"} 2.5', "a", (("b", 'x, y="}\n\\'), ("z", "1")), 2.5),
        (b'a:b{le="+Inf"}\t+Inf', "a:b", (("le", "+Inf"),), math.inf),
    ],
)
def test_a_sample_has_a_name_labels_and_a_value(
    line: bytes, name: str, labels: tuple[tuple[str, str], ...], value: float
) -> None:
    page = b"# HELP a b\n# TYPE a counter\n\n" + line + b"\n"
    assert samples(page) == {(name, labels): value}


@pytest.mark.parametrize("page", [b"a", b"a b", b"a{b 1", b"<html>", b"a \xff"])
def test_what_is_no_page_is_refused(page: bytes) -> None:
    with pytest.raises(ValueError, match=r"no sample|could not convert|can't decode"):
        samples(page)


@given(st.lists(st.text(), min_size=1, max_size=4, unique=True))
def test_what_prometheus_own_client_writes_is_read(values: list[str]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("g", "Help.", ("label", "other"), registry=registry)
    for index, value in enumerate(values):
        gauge.labels(value, "x").set(index)
    read = samples(generate_latest(registry))
    assert read == {("g", (("label", value), ("other", "x"))): float(i) for i, value in enumerate(values)}
