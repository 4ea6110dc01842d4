"""Where spans are sent: a collector that speaks OTLP over HTTP."""

import msgspec


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """The URL that spans are posted to, headers that go with them, and a file of authorities that it is believed by."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    authority: str | None = None
