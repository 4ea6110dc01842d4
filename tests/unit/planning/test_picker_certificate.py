"""When the pickers' certificate and its authority are made anew."""

import pytest
from msgspec.structs import replace

from argosy.base.certificate import Certificate
from argosy.decide.planning.picker_certificate import AUTHORITY_S, CERTIFICATE_S, DAY_S, Due, due

NAME = "argosy-picker.argosy-system.svc"
NOW = 1_800_000_000.0
AUTHORITY = Certificate(names=(), begins_s=NOW, ends_s=NOW + AUTHORITY_S)
GOOD = Certificate(names=("other", NAME), begins_s=NOW, ends_s=NOW + CERTIFICATE_S)


def needed(authority: Certificate | None, certificate: Certificate | None, *, after_s: float = 0.0) -> Due | None:
    return due(authority, certificate, names=(NAME,), now_s=NOW + after_s)


def test_what_is_good_stays() -> None:
    assert needed(AUTHORITY, GOOD) is None
    assert needed(AUTHORITY, GOOD, after_s=CERTIFICATE_S - 31 * DAY_S) is None


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (None, "there is no certificate"),
        (replace(GOOD, names=("other",)), f"does not name {NAME}"),
        (replace(GOOD, begins_s=NOW + 1), "only from later on"),
        (replace(GOOD, ends_s=NOW + 29 * DAY_S), "ends in 29.0 days"),
        (replace(GOOD, ends_s=NOW - DAY_S), "ends in -1.0 days"),
    ],
)
def test_a_certificate_that_will_not_do_is_made_anew_by_the_same_authority(
    certificate: Certificate | None, why: str
) -> None:
    found = needed(AUTHORITY, certificate)
    assert found is not None
    assert found.make == "certificate"
    assert why in found.why


@pytest.mark.parametrize("authority", [None, replace(AUTHORITY, ends_s=NOW + 364 * DAY_S)])
def test_an_authority_that_is_not_there_or_ends_within_a_year_is_made_anew(authority: Certificate | None) -> None:
    found = needed(authority, GOOD)
    assert found is not None
    assert found.make == "authority"


def test_an_authority_outlives_what_it_signs() -> None:
    assert AUTHORITY_S > 365 * DAY_S > CERTIFICATE_S
