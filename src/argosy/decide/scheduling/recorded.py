"""Decisions as lines of JSON: for a file, and found in it again.

Rules of this file:

- A line has the record itself, whatever its fields are, and the number of its pool's state, which stands in a line of
  its own before it: 1,000 endpoints are not written for each decision.
- Whether a request is recorded is a property of its id, so all replicas and all attempts agree.
- A line that cannot be read, such as one that was cut off, is left out.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.record import MAX_ID, Record

_RANGE: Final = 2**64


class PoolLine(msgspec.Struct, frozen=True, kw_only=True, tag="pool", tag_field="line"):
    """One state of a pool."""

    number: int
    endpoints: tuple[PoolEndpoint, ...]


class DecisionLine(msgspec.Struct, frozen=True, kw_only=True, tag="decision", tag_field="line"):
    """One decision and the number of its pool's state: the latest before it of that number."""

    pool: int
    record: Record


class _Numbered(msgspec.Struct, frozen=True, tag="pool", tag_field="line"):
    """A pool's line without its endpoints, which most need not be read for."""

    number: int


_DECISIONS: Final = msgspec.json.Decoder(DecisionLine)
_POOLS: Final = msgspec.json.Decoder(PoolLine)
_NUMBERED: Final = msgspec.json.Decoder(_Numbered)
_POOL: Final = b'{"line":"pool"'


def is_sampled(request: str, share: float) -> bool:
    """Say whether a request, by its id, is among this share of all, 0 to 1."""
    digest = hashlib.blake2b(request[:MAX_ID].encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest) < share * _RANGE


def pool_line(number: int, endpoints: Sequence[PoolEndpoint]) -> str:
    """Give the line of a pool's state."""
    return msgspec.json.encode(PoolLine(number=number, endpoints=tuple(endpoints))).decode()


def decision_line(pool: int, record: Record) -> str:
    """Give the line of a decision."""
    return msgspec.json.encode(DecisionLine(pool=pool, record=record)).decode()


def recorded(lines: Iterable[bytes], request: str) -> tuple[Record, Sequence[PoolEndpoint]] | None:
    """Find the latest record of a request, and its pool's endpoints then, in lines that follow each other."""
    wanted = request[:MAX_ID].encode(errors="replace").decode()
    in_json = msgspec.json.encode(wanted)
    pools: dict[int, bytes] = {}
    found: tuple[Record, bytes | None] | None = None
    for line in lines:
        if line.startswith(_POOL):
            _remember(pools, line)
        elif in_json in line:
            decision = _decision(line)
            if decision is not None and decision.record.request == wanted:
                found = decision.record, pools.get(decision.pool)
    if found is None:
        return None
    record, pool = found
    return record, () if pool is None else _pool(pool)


def _remember(pools: dict[int, bytes], line: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        pools[_NUMBERED.decode(line).number] = line


def _decision(line: bytes) -> DecisionLine | None:
    try:
        return _DECISIONS.decode(line)
    except msgspec.DecodeError:
        return None


def _pool(line: bytes) -> tuple[PoolEndpoint, ...]:
    try:
        return _POOLS.decode(line).endpoints
    except msgspec.DecodeError:
        return ()
