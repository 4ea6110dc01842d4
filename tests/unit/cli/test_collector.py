import pytest

from argosy.base.errors import UserError
from argosy.cli.collector import collector, spans_of_gateways
from argosy.decide.translation.tracing import SpanCollector

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.tracing.svc:4318/"}


def test_the_url_for_traces_is_below_the_one_for_everything_or_is_named_itself() -> None:
    found = collector(ENDPOINT)
    assert found is not None
    assert found.url == "http://otel.tracing.svc:4318/v1/traces"
    found = collector({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://a/b"})
    assert found is not None
    assert found.url == "https://a/b"


def test_what_is_said_of_traces_comes_before_what_is_said_of_everything() -> None:
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "B=x%2Cy,c=2"}
    found = collector({**ENDPOINT, **headers, "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca"})
    assert found is not None
    assert (found.headers, found.authority) == ((("b", "x,y"), ("c", "2")), "/ca")


@pytest.mark.parametrize(
    "named", [{}, {**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}]
)
def test_nowhere_is_named(named: dict[str, str]) -> None:
    assert collector(named) is None
    assert spans_of_gateways(named) is None


@pytest.mark.parametrize(
    ("sampler", "share"),
    [
        ({}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, 0.1),
    ],
)
def test_envoys_sample_as_the_environment_says(sampler: dict[str, str], share: float) -> None:
    found = spans_of_gateways({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "a=1", **sampler})
    assert found == SpanCollector(host="otel.tracing.svc", port=4318, headers=(("a", "1"),), share=share)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a"}, "Envoys send spans to http:// alone"),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "always_on"}, "write parentbased_always_on"),
        (
            {**ENDPOINT, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
            "a share from 0 to 1",
        ),
        (
            {**ENDPOINT, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"},
            "a share from 0 to 1",
        ),
    ],
)
def test_what_envoys_cannot_do_is_said(named: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        spans_of_gateways(named)
