"""SGLang's KV transfer: prefill and decode worker get the same request at once, and meet at the prefill worker.

Unverified: written by the documented fields; no SGLang runs where this is tested.

Sources: SGLang, `docs/advanced_features/pd_disaggregation.md` and `python/sglang/srt/disaggregation` (bootstrap host,
port and room); llm-d's `sglang` connector of its routing sidecar.
"""

from typing import Final

import msgspec

from argosy.engines.nixlv2 import Fields

BOOTSTRAP_FIELDS: Final = ("bootstrap_host", "bootstrap_port", "bootstrap_room")
ROOMS: Final = 2**63
"""Rooms are numbers below this; each pair of requests meets in one of its own."""


def paired_request(fields: Fields, *, host: str, port: int, room: int) -> bytes:
    """Give the body for both workers: where they meet. `host` is the prefill worker's address."""
    meeting = dict(zip(BOOTSTRAP_FIELDS, (host, port, room), strict=True))
    return msgspec.json.encode({**fields, **meeting})
