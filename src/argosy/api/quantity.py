"""Kubernetes quantities: `500m`, `2`, `4Gi`."""

import math
import re
from decimal import Decimal
from typing import Final

from msgspec import Meta

QUANTITY: Final = Meta(
    pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
    extra={"expected": "a Kubernetes quantity such as 2, 500m or 4Gi"},
)

_UNITS: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
}
_BINARY: Final = ("Ti", "Gi", "Mi", "Ki", "")
_DECIMAL: Final = ("T", "G", "M", "k", "", "m")
"""Units of each family, largest first."""
_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)")


def quantity(value: int | str) -> Decimal:
    """Give a quantity in its base unit (CPUs, bytes). Raises ValueError for what is none."""
    match = _FORM.fullmatch(str(value))
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{value!r} is no quantity")
    return Decimal(match[1]) * _UNITS[match[2]]


def canonical(value: int | str) -> str:
    """Give a quantity as an API server writes it: `2048Mi` → `2Gi`, `0.5` → `500m`, `2000m` → `2`.

    Source: k8s.io/apimachinery, resource.Quantity: no fractions, the largest unit that leaves none, of the same family.
    """
    amount = quantity(value)
    units = _BINARY if str(value).endswith("i") else _DECIMAL
    for unit in units:
        count = amount / _UNITS[unit]
        if count == count.to_integral_value() and (count or not unit):
            return f"{int(count)}{unit}"
    return f"{math.ceil(amount / _UNITS[units[-1]])}{units[-1]}"


def mebibytes(size_bytes: int) -> str:
    """Give bytes as a canonical quantity, rounded up to 64 MiB."""
    step = 64 * 2**20
    return canonical(f"{-(-size_bytes // step) * 64}Mi")
