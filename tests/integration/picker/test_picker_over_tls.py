"""Pickers over TLS behind a real Envoy: verified, rotated under load, and one standing by for the other."""

import asyncio
import contextlib
import signal
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from argosy.base.endpoint import Endpoint
from argosy.edge.tls.certificates import KeyPair
from harness.dataplane import DataPlane, data_plane
from harness.picker_process import PickerProcess, picker_process
from harness.tls import PICKER_NAME, authority, put, put_certificate
from harness.waiting import until

FAIL_OPENS = "http.gateway.ext_proc.failure_mode_allowed"
IN_FLIGHT = 4
CONNECTIONS = "cluster.argosy/pickers.upstream_cx_total"


@pytest.fixture
def signer() -> KeyPair:
    return authority(time.time())


@pytest.fixture
async def plane(tmp_path: Path, signer: KeyPair) -> AsyncIterator[DataPlane]:
    put(tmp_path / "ca", ca_crt=signer.certificate)
    put_certificate(tmp_path / "tls", signer, time.time())
    async with data_plane(tmp_path, picker_authority=tmp_path / "ca" / "ca.crt") as plane:
        await plane.publish_model("m")
        for _ in range(2):
            await plane.add_backend("m")
        yield plane


@contextlib.asynccontextmanager
async def picker(plane: DataPlane, name: str = "argosy-picker-0") -> AsyncIterator[PickerProcess]:
    """Run a picker with the certificate, known to the gateway."""
    options = ("--tls-dir", str(plane.folder / "tls"))
    async with picker_process(plane.store_address, plane.folder, *options, address=plane.address()) as running:
        await plane.add_picker(Endpoint.parse(running.address), name=name)
        await plane.programmed()
        yield running


class Load:
    """Asks again and again, over kept and over fresh connections, and counts what comes back."""

    def __init__(self, plane: DataPlane) -> None:
        self.answers: Counter[int] = Counter()
        self._plane = plane

    async def run(self) -> None:
        async with self._plane.client() as client, asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._ask_on(client))

    async def _ask_on(self, client: aiohttp.ClientSession) -> None:
        while True:
            async with client.post("/v1/completions", json={"model": "m"}) as answer:
                await answer.read()
                self.answers[answer.status] += 1

    async def more(self, count: int = 50) -> None:
        """Wait for so many more answers."""
        enough = self.answers.total() + count
        await until(lambda: self.answers.total() >= enough)


@contextlib.asynccontextmanager
async def load(plane: DataPlane) -> AsyncIterator[Load]:
    """Ask until the block ends."""
    asking = Load(plane)
    task = asyncio.create_task(asking.run())
    try:
        await asking.more()
        yield asking
        await asking.more()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def certificate_of(endpoint: str) -> bytes:
    """Give the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    at = Endpoint.parse(endpoint)
    _, writer = await asyncio.open_connection(at.address, at.port, ssl=context)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return ssl.DER_cert_to_PEM_cert(shown).encode()


async def test_requests_are_picked_by_a_picker_of_the_right_name_and_authority(plane: DataPlane) -> None:
    async with picker(plane) as running, load(plane) as asking:
        await asking.more()
    assert set(asking.answers) == {200}
    assert await plane.stat(FAIL_OPENS) == 0
    assert await plane.stat("cluster.argosy/pickers.ssl.handshake") >= 1
    assert running.process is not None


async def test_a_picker_of_another_authority_is_not_asked_and_requests_go_on_without(plane: DataPlane) -> None:
    put_certificate(plane.folder / "tls", authority(time.time()), time.time())
    async with picker(plane) as running, load(plane) as asking:
        pass
    assert set(asking.answers) == {200}
    assert await plane.stat(FAIL_OPENS) > 0
    assert await plane.stat("cluster.argosy/pickers.ssl.fail_verify_error") > 0
    assert running.process is not None


async def test_a_picker_of_another_name_is_not_asked(plane: DataPlane, signer: KeyPair) -> None:
    put_certificate(plane.folder / "tls", signer, time.time(), name="somebody.elsewhere.svc")
    async with picker(plane), load(plane) as asking:
        pass
    assert set(asking.answers) == {200}
    assert await plane.stat("cluster.argosy/pickers.ssl.fail_verify_san") > 0


async def test_a_new_certificate_is_shown_to_new_connections_and_no_request_fails(
    plane: DataPlane, signer: KeyPair
) -> None:
    async with picker(plane) as running, load(plane) as asking:
        before = await certificate_of(running.address)
        pair = put_certificate(plane.folder / "tls", signer, time.time())
        assert await certificate_of(running.address) == pair.certificate != before
        await asking.more()
    assert set(asking.answers) == {200}
    assert await plane.stat(FAIL_OPENS) == 0


async def test_half_a_certificate_leaves_the_old_one_in_force(plane: DataPlane, signer: KeyPair) -> None:
    async with picker(plane) as running:
        before = await certificate_of(running.address)
        put(plane.folder / "tls", tls_key=signer.key)
        assert await certificate_of(running.address) == before
        put(plane.folder / "tls", tls_crt=b"", tls_key=b"")
        assert await certificate_of(running.address) == before


async def test_a_new_authority_is_taken_in_while_requests_go_on(plane: DataPlane, signer: KeyPair) -> None:
    second = authority(time.time())
    async with picker(plane), load(plane) as asking:

        async def trust(bundle: bytes) -> None:
            connections = await plane.stat(CONNECTIONS)
            put(plane.folder / "ca", ca_crt=bundle)

            async def taken() -> bool:
                return await plane.stat(CONNECTIONS) > connections

            await until(taken)

        await trust(signer.certificate + second.certificate)
        put_certificate(plane.folder / "tls", second, time.time())
        await trust(second.certificate)
        await asking.more()
        unpicked = await plane.stat(FAIL_OPENS)
        await asking.more(200)
    assert set(asking.answers) == {200}
    assert await plane.stat(FAIL_OPENS) == unpicked <= 2 * IN_FLIGHT, "more than those that were being picked just then"


async def test_the_oldest_picker_is_asked_and_its_death_loses_no_request(plane: DataPlane) -> None:
    async with picker(plane, "old") as old:
        async with picker(plane, "young") as young, load(plane) as asking:
            picked = await old.metric("argosy_picks_total")
            await asking.more()
            assert await old.metric("argosy_picks_total") > picked
            assert await young.metric("argosy_picks_total") == 0
            await old.end(signal.SIGKILL)
            await asking.more(200)
            assert await young.metric("argosy_picks_total") > 0
        assert set(asking.answers) == {200}


async def test_a_picker_that_ends_hands_over_without_a_request_unpicked(plane: DataPlane) -> None:
    async with picker(plane, "old") as old:
        async with picker(plane, "young") as young, load(plane) as asking:
            assert await old.end() == 0
            await asking.more(200)
            assert await young.metric("argosy_picks_total") > 0
        assert set(asking.answers) == {200}
        assert await plane.stat(FAIL_OPENS) == 0


async def test_a_folder_without_a_certificate_is_said(plane: DataPlane) -> None:
    options = ("--tls-dir", str(plane.folder / "nowhere"))
    async with picker_process(plane.store_address, plane.folder, *options, address=plane.address(), wait=False) as it:
        assert it.process is not None
        assert await asyncio.wait_for(it.process.wait(), 20) == 2
        assert "nowhere/tls.crt" in it.log.read_text()
        assert PICKER_NAME not in it.log.read_text()
