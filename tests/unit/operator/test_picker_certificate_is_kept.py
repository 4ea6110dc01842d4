"""The Secret with the pickers' certificate: made, left alone while it is good, made anew in time."""

import base64
import itertools

import pytest
from msgspec.structs import replace

from argosy.api.kubernetes import Secret
from argosy.apps.operator.picker_certificate import NAMES, SECRET, keep_picker_certificate
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.tls.certificates import KeyPair, read_authority, read_certificate

NOW = 1_800_000_000.0
DAY_S = 86_400.0


@pytest.fixture
def store() -> InMemoryStore:
    uids = itertools.count()
    return InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"uid-{next(uids)}")


async def contents(store: InMemoryStore) -> dict[str, bytes]:
    found = await store.get(Secret, SECRET)
    assert found is not None
    return {name: base64.b64decode(value) for name, value in found.data.items()}


def is_good(held: dict[str, bytes]) -> bool:
    read = read_certificate(KeyPair(held["tls.crt"], held["tls.key"]), authority=held["ca.crt"])
    return read is not None and read.names == NAMES


async def test_it_is_made_where_there_is_none(store: InMemoryStore) -> None:
    assert "no authority" in await keep_picker_certificate(store, now_s=NOW)
    held = await contents(store)
    assert set(held) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert is_good(held)
    assert NAMES == ("argosy-picker.argosy-system.svc",)


async def test_while_it_is_good_nothing_is_written(store: InMemoryStore) -> None:
    await keep_picker_certificate(store, now_s=NOW)
    before = await store.get(Secret, SECRET)
    assert await keep_picker_certificate(store, now_s=NOW + 59 * DAY_S) == ""
    assert await store.get(Secret, SECRET) == before


async def test_it_is_made_anew_by_the_same_authority_before_it_ends(store: InMemoryStore) -> None:
    await keep_picker_certificate(store, now_s=NOW)
    before = await contents(store)
    assert "ends in 29" in await keep_picker_certificate(store, now_s=NOW + 61 * DAY_S)
    after = await contents(store)
    assert after["ca.crt"] == before["ca.crt"]
    assert after["tls.crt"] != before["tls.crt"]
    assert is_good(after)


async def test_a_new_authority_comes_with_the_old_one_still_trusted(store: InMemoryStore) -> None:
    await keep_picker_certificate(store, now_s=NOW)
    before = await contents(store)
    assert "authority ends" in await keep_picker_certificate(store, now_s=NOW + (10 * 365 - 364) * DAY_S)
    after = await contents(store)
    assert after["ca.crt"].endswith(before["ca.crt"])
    assert read_authority(KeyPair(after["ca.crt"], after["ca.key"])) is not None
    assert is_good(after)


@pytest.mark.parametrize("damage", [{}, {"tls.key": ""}, {"tls.crt": "not base64"}, {"ca.key": "AAAA"}])
async def test_what_a_hand_has_broken_is_mended(store: InMemoryStore, damage: dict[str, str]) -> None:
    await keep_picker_certificate(store, now_s=NOW)
    found = await store.get(Secret, SECRET)
    assert found is not None
    broken = replace(found, data={**found.data, **damage} if damage else {})
    await store.delete(Secret, SECRET)
    await store.apply(broken, owner="argosy-operator")
    assert await keep_picker_certificate(store, now_s=NOW) != ""
    assert is_good(await contents(store))
