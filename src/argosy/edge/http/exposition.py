"""Reads pages in Prometheus' text format: all of one, or a few families without reading the rest.

An engine's page has 58 KB and hundreds of families: to search for a name costs microseconds, to parse all milliseconds.
prometheus-client's own parser costs whoever imports it an HTTP server and more time than `argosy status` has.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format, version 0.0.4).
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABEL: Final = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPES: Final = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Give every value of a page, by name and sorted labels. Raises ValueError for a page that is none."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for line in page.decode().split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        sample = _SAMPLE.fullmatch(line)
        if sample is None:
            raise ValueError(f"no sample: {line[:80]!r}")
        labels = ((name, _unescaped(value)) for name, value in _LABEL.findall(sample[2] or ""))
        found[sample[1], tuple(sorted(labels))] = float(sample[3])
    return found


def _unescaped(value: str) -> str:
    return re.sub(r'\\[\\n"]', lambda found: _ESCAPES[found[0]], value) if "\\" in value else value


def family_sums(page: bytes, names: Iterable[str]) -> dict[str, float]:
    """Give the sum over all series of each family; families that are absent or have no finite sum are left out."""
    sums: dict[str, float] = {}
    for name in names:
        values = [value for _, value in _found(page, name.encode()) if math.isfinite(value)]
        if values and math.isfinite(total := sum(values)):
            sums[name] = total
    return sums


def family(page: bytes, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Give labels and value of each series of one family."""
    for labels, value in _found(page, name.encode()):
        found = _LABEL.findall(labels.decode("utf-8", "replace")) if labels else ()
        yield {label: _unescaped(text) for label, text in found}, value


def _found(page: bytes, name: bytes) -> Iterator[tuple[bytes, float]]:
    """Give what stands between the braces, and the value, of each line of a family."""
    at = page.find(name)
    while at >= 0:
        after = at + len(name)
        end = page.find(b"\n", after)
        end = len(page) if end < 0 else end
        # Names that only begin alike, and comments that mention this one, are others.
        if (at == 0 or page[at - 1 : at] == b"\n") and page[after : after + 1] in (b"{", b" ", b"\t"):
            # A label's value may hold anything but a line feed; value and timestamp hold no brace.
            labels, _, rest = page[after:end].rpartition(b"}")
            words = rest.split()
            if words:
                yield labels[1:], _number(words[0])
        at = page.find(name, end)


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
