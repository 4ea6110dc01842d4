"""Reads a few families out of a page in Prometheus' text format, without reading the rest.

An engine's page has 58 KB and hundreds of families: to search for a name costs microseconds, to parse all milliseconds.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format, version 0.0.4).
"""

import math
from collections.abc import Iterable, Iterator


def family_sums(page: bytes, names: Iterable[str]) -> dict[str, float]:
    """Give the sum over all series of each family; families that are absent or have no finite sum are left out."""
    sums: dict[str, float] = {}
    for name in names:
        values = [value for value in _values(page, name.encode()) if math.isfinite(value)]
        if values and math.isfinite(total := sum(values)):
            sums[name] = total
    return sums


def _values(page: bytes, name: bytes) -> Iterator[float]:
    at = page.find(name)
    while at >= 0:
        after = at + len(name)
        end = page.find(b"\n", after)
        end = len(page) if end < 0 else end
        # Names that only begin alike, and comments that mention this one, are others.
        if (at == 0 or page[at - 1 : at] == b"\n") and page[after : after + 1] in (b"{", b" ", b"\t"):
            # A label's value may hold anything but a line feed; value and timestamp hold no brace.
            words = page[after:end].rpartition(b"}")[2].split()
            if words:
                yield _number(words[0])
        at = page.find(name, end)


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
