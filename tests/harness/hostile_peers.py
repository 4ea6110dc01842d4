"""Peers of an ext_proc server that break every rule, over sockets, and one beside them that breaks none.

Each sequence of frames is made from a seed and its own number, and comes over a connection of its own, many at a time.
Frames are counted as far as the server is known to have read them: after every few a PING is sent, and its answer
waited for. Behind one that was cut short there is no telling, so none is counted. That a sequence got past SETTINGS
with open streams is taken from what the server says: it acknowledged them, and answered on an ext_proc stream without
ending it.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from typing import Final

import msgspec

from argosy.edge.rpc.http2 import frames
from harness.ext_proc_speech import Envoyish
from harness.http2_client import Mischief
from harness.picker_process import Client, PickerProcess, client_of, destination
from harness.waiting import until

MOST_FRAMES: Final = 200
MOST_AT_ONCE: Final = 12
OVERTAKEN: Final = 64
"""By so many later calls a call of the healthy peer may be answered earlier; more are a call that was forgotten."""
_BARRIER: Final = b"barrier!"
_CHAT: Final = b'{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'


class Tally(msgspec.Struct):
    """What a run came to."""

    frames: int = 0
    sequences: int = 0
    past_settings: int = 0
    with_streams: int = 0
    broken: int = 0
    healthy: int = 0


class Sequence:
    """What one hostile peer sends, of one number of one seed."""

    def __init__(self, seed: int, number: int) -> None:
        self.rng = random.Random(f"{seed} {number}")
        self._is_deep = self.rng.random() < 0.8
        self._speech = Envoyish(self.rng, 0.1 if self._is_deep else 0.4)
        self._mischief = Mischief(self.rng, 0.002 if self._is_deep else 0.1, self._speech)
        self.reads = self.rng.random() < 0.97
        """Whether the peer reads what is sent to it."""
        self.end = self.rng.choice(("abort", "close", "half-close"))

    @property
    def is_framed(self) -> bool:
        """Whether what was given so far are whole frames."""
        return not self._mischief.has_cut

    def batches(self) -> Iterator[tuple[int, bytes]]:
        """Give bytes to be sent at once, and how many frames they are."""
        beginning = self._mischief.begin(politely=self._is_deep)
        yield 1, beginning + (self._mischief.opening() if self._is_deep else b"")
        left = self.rng.randrange(1, MOST_FRAMES)
        while left > 0:
            count = min(left, self.rng.randrange(1, MOST_AT_ONCE))
            yield count, b"".join(self._mischief.frame(0.01 if self._is_deep else 0.2) for _ in range(count))
            left -= count


class _Wire(asyncio.Protocol):
    """A hostile peer's end of a connection."""

    def __init__(self) -> None:
        self.is_over = self.is_acknowledged = self.has_stream = False
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._change = asyncio.Event()
        self._barriers = 0

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_over = True
        self._change.set()

    def eof_received(self) -> None:
        self.is_over = True
        self._change.set()

    def data_received(self, data: bytes) -> None:
        data = self._unread + data
        at = 0
        while len(data) >= at + frames.HEADER_BYTES:
            size, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
            if len(data) < at + frames.HEADER_BYTES + size:
                break
            at += frames.HEADER_BYTES + size
            self._take(kind, flags, data[at - size : at])
        self._unread = data[at:]

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.SETTINGS and flags & frames.ACK:
            self.is_acknowledged = True
        elif kind == frames.HEADERS and not flags & frames.END_STREAM:
            self.has_stream = True
        elif kind == frames.PING and payload == _BARRIER:
            self._barriers += 1
            self._change.set()

    async def passed(self, barriers: int) -> None:
        """Wait until so many barriers are answered, or the connection is over."""
        while not self.is_over and self._barriers < barriers:
            self._change.clear()
            await self._change.wait()


async def send(sequence: Sequence, host: str, port: int, tally: Tally) -> None:
    """Send a sequence, as far as the server takes it."""
    loop = asyncio.get_running_loop()
    transport, wire = await loop.create_connection(_Wire, host, port)
    is_broken, barrier = False, frames.frame(frames.PING, 0, 0, _BARRIER)
    try:
        if not sequence.reads:
            transport.pause_reading()
        for number, (count, data) in enumerate(sequence.batches(), 1):
            transport.write(data + barrier)
            if sequence.reads and sequence.is_framed:
                await wire.passed(number)
                # Of a batch that breaks the connection one frame at least was read.
                tally.frames += 1 if wire.is_over else count
            if wire.is_over:
                is_broken = True
                break
        if sequence.end == "half-close" and sequence.reads and not is_broken:
            transport.write_eof()
            await wire.passed(2**31)
    finally:
        transport.abort() if sequence.end == "abort" or not sequence.reads else transport.close()
    tally.sequences += 1
    tally.past_settings += wire.is_acknowledged
    tally.with_streams += wire.is_acknowledged and wire.has_stream
    tally.broken += is_broken


async def attack(address: str, seed: int, most_frames: int, tally: Tally, *, peers: int = 32) -> None:
    """Send sequences over so many connections at a time until they are so many frames."""
    host, _, port = address.rpartition(":")
    numbers = iter(range(2**31))

    async def go_on() -> None:
        while tally.frames < most_frames:
            number = next(numbers)
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(60):
                    await send(Sequence(seed, number), host, int(port), tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(peers):
            group.create_task(go_on())


async def ask(client: Client) -> None:
    """Have one request picked and answered, from its headers to the end of its stream."""
    stream = client.stream()
    places = destination(await stream.ask(_CHAT)).split(",")
    assert len(places) == 2, places
    assert (await stream.response(places[0])).WhichOneof("response") == "response_headers"
    assert (await stream.end()).name == "OK"


async def keep_asking(client: Client, tally: Tally, *, calls: int = 4) -> None:
    """Ask over one connection for ever, so many calls at a time; each is answered, and none is forgotten."""
    numbers, waiting = iter(range(2**31)), set[int]()

    async def go_on() -> None:
        while True:
            number = next(numbers)
            assert number - min(waiting, default=number) <= OVERTAKEN, f"call {min(waiting)} is not answered"
            waiting.add(number)
            await ask(client)
            waiting.remove(number)
            tally.healthy += 1
            # One call for each sequence: more would be a load test.
            await until(lambda: tally.healthy <= tally.sequences)

    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            group.create_task(go_on())


async def besiege(picker: PickerProcess, seed: int, most_frames: int, tally: Tally) -> None:
    """Attack a picker of two endpoints beside a healthy peer; both must come to their end, and it must live."""
    try:
        async with client_of(picker.address) as client:
            asking = asyncio.create_task(keep_asking(client, tally))
            attacking = asyncio.create_task(attack(picker.address, seed, most_frames, tally))
            await asyncio.wait((asking, attacking), return_when=asyncio.FIRST_COMPLETED)
            for task in (asking, attacking):
                if task.done():
                    task.result()
                task.cancel()
            async with asyncio.timeout(60):
                await ask(client)
        assert "Traceback" not in picker.log.read_text(), picker.log.read_text()[-10_000:]
    except BaseException:
        print(f"seed {seed}, about sequence {tally.sequences}, {tally}")
        raise


async def is_at_rest(picker: PickerProcess) -> bool:
    """Say whether a picker holds nothing of any peer."""
    names = ("argosy_ext_proc_streams", "argosy_ext_proc_held_bytes", "argosy_reservations")
    return [await picker.metric(name) for name in names] == [0, 0, 0]
