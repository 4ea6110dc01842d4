import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.edge.processes.addresses import ATTEMPTS, LoopbackAddresses, NoAddress, bindable, candidates

names = st.text(max_size=20)


@given(names, names)
def test_every_candidate_is_a_loopback_address_but_never_of_127_0_0(seed: str, slot: str) -> None:
    for candidate in candidates(seed, slot):
        address = ipaddress.ip_address(candidate)
        assert address.is_loopback
        assert address not in ipaddress.ip_network("127.0.0.0/24")
        assert not candidate.endswith((".0", ".255"))


@given(names, st.lists(names, unique=True, max_size=30), st.randoms(use_true_random=False))
def test_slots_have_different_addresses_which_they_keep(seed: str, slots: list[str], rng: object) -> None:
    addresses = LoopbackAddresses(seed, lambda _address: True)
    first = {slot: addresses.of(slot) for slot in slots}
    rng.shuffle(slots)  # type: ignore[attr-defined]
    assert {slot: addresses.of(slot) for slot in slots} == first
    assert len(set(first.values())) == len(slots)


def test_another_instance_gives_other_addresses_and_the_same_one_gives_the_same() -> None:
    def of(seed: str) -> list[str]:
        addresses = LoopbackAddresses(seed, lambda _address: True)
        return [addresses.of(f"pod-{index}") for index in range(20)]

    assert of("a") == of("a")
    assert not set(of("a")) & set(of("b"))


@given(names, names, st.integers(0, ATTEMPTS - 1))
def test_addresses_in_use_are_passed_over(seed: str, slot: str, used: int) -> None:
    row = list(candidates(seed, slot))
    addresses = LoopbackAddresses(seed, lambda address: address not in row[:used])
    assert addresses.of(slot) == next(address for address in row if address not in row[:used])


def test_no_free_address_is_an_error_that_names_the_slot() -> None:
    tried: list[str] = []

    def in_use(address: str) -> bool:
        tried.append(address)
        return False

    with pytest.raises(NoAddress, match="pod-0"):
        LoopbackAddresses("a", in_use).of("pod-0")
    assert len(tried) == ATTEMPTS


def test_an_address_is_bindable_until_someone_listens_on_a_port_of_it() -> None:
    address = LoopbackAddresses("test_addresses", lambda each: bindable(each, (0,))).of("slot")
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert not bindable(address, (0, port))
    assert bindable(address, (0, port))
