"""The collector of spans that the environment names, in OpenTelemetry's own variables.

Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "Environment variables".
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from argosy.base.errors import UserError

if TYPE_CHECKING:
    from argosy.decide.translation.tracing import SpanCollector
    from argosy.edge.telemetry.collector import Collector

PREFIX: Final = "OTEL_EXPORTER_OTLP_"
PROTOCOL: Final = "http/protobuf"


def collector(environment: Mapping[str, str]) -> "Collector | None":
    """Give the collector, None where none is named or tracing is off. Raises `UserError` for what cannot be read."""
    from argosy.edge.telemetry.collector import Collector  # noqa: PLC0415 - other verbs do not pay for it

    def variable(name: str) -> str:
        """Give the value for traces, or else that for everything."""
        return environment.get(f"{PREFIX}TRACES_{name}") or environment.get(f"{PREFIX}{name}") or ""

    whole, base = environment.get(f"{PREFIX}TRACES_ENDPOINT"), environment.get(f"{PREFIX}ENDPOINT")
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() == "none" or not (whole or base):
        return None
    if variable("PROTOCOL") not in ("", PROTOCOL):
        raise UserError(
            f"{PREFIX}PROTOCOL={variable('PROTOCOL')}: spans are sent as {PROTOCOL} alone, which collectors take at "
            "port 4318"
        )
    url = whole or f"{(base or '').rstrip('/')}/v1/traces"
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{PREFIX}ENDPOINT={whole or base}: it begins with http:// or https://")
    headers = tuple(_pairs(variable("HEADERS")))
    return Collector(url=url, headers=headers, authority=variable("CERTIFICATE") or None)


def spans_of_gateways(environment: Mapping[str, str]) -> "SpanCollector | None":
    """Give where Envoys send spans, None for nowhere. Raises `UserError` for what they cannot do."""
    found = collector(environment)
    if found is None:
        return None
    from argosy.decide.translation.tracing import SpanCollector  # noqa: PLC0415

    url = urlsplit(found.url)
    if url.scheme != "http" or not url.hostname:
        raise UserError(f"{found.url}: Envoys send spans to http:// alone; name a collector of the cluster")
    return SpanCollector(
        host=url.hostname,
        port=url.port or 80,
        path=url.path,
        headers=found.headers,
        share=_share(environment),
    )


def _share(environment: Mapping[str, str]) -> float:
    """Give the share of requests without a trace that begin one; whoever has one, its flag decides."""
    name = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    argument = environment.get("OTEL_TRACES_SAMPLER_ARG") or "1.0"
    shares = {"parentbased_always_on": "1", "parentbased_always_off": "0", "parentbased_traceidratio": argument}
    try:
        share = float(shares[name])
    except KeyError:
        raise UserError(f"OTEL_TRACES_SAMPLER={name}: write {', '.join(shares)}") from None
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"OTEL_TRACES_SAMPLER_ARG={argument}: write a share from 0 to 1")
    return share


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Read `name=value,name=value`, values percent-encoded, as W3C Baggage has them."""
    for each in filter(None, map(str.strip, text.split(","))):
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise UserError(f"{PREFIX}HEADERS: {name!r} has no value; write name=value,name=value")
        yield name.strip().lower(), unquote(value.strip())
