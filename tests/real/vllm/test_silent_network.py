"""A fetch whose peer's network has fallen silent ends: UCX is told how long to wait, which by itself it is not."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.engines import vllm
from harness import vllm_environment
from harness.network import Network, no_network_reason
from harness.nodes import cannot_run_reason

pytestmark = pytest.mark.timeout(180)
PEER = Path(__file__).with_name("nixl_peer.py")
LIMIT_S = 60
"""Far more than the variables say, and far less than the kernel would wait."""
SILENCE = """
table inet silence {
  chain input {
    type filter hook input priority 0
    meta l4proto tcp drop
  }
}
"""


class Peer:
    """A process with a NIXL agent, in the network of this thread."""

    def __init__(self, role: str) -> None:
        told = vllm.Settings(model="m", weights="/w", on_cpu=True, kv_role="kv_both", port=1, kv_port=2, threads="1")
        self.process = subprocess.Popen(
            [vllm_environment.python(), PEER, role],
            env=os.environ | vllm.environment(told) | {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def said(self) -> str:
        """Give the next line of its own; NIXL's log lines stand between."""
        assert self.process.stdout is not None
        while " NIXL " in (line := self.process.stdout.readline()):
            pass
        return line.strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def holder() -> Iterator[Peer]:
    """Its peer, in a network of their own; this thread is in it, too."""
    reason = no_network_reason() or cannot_run_reason()
    if reason is not None:
        pytest.skip(reason)
    with Network() as network, network.inside():
        peer = Peer("holds")
        yield peer
        peer.end()


@pytest.fixture
def fetcher(holder: Peer) -> Iterator[Peer]:
    peer = Peer("fetches")
    peer.tell(holder.said())
    assert peer.said() == "ready"
    yield peer
    peer.end()


def fall_silent() -> None:
    subprocess.run(["nft", "-f", "-"], input=SILENCE, text=True, check=True)  # noqa: S607


def end_of(fetcher: Peer) -> str:
    """Give how its fetch ends, or nothing where it does not within the limit."""
    too_late = threading.Timer(LIMIT_S, fetcher.process.kill)
    too_late.start()
    try:
        return fetcher.said()
    finally:
        too_late.cancel()


def fetched(fetcher: Peer) -> None:
    fetcher.tell("")
    assert [fetcher.said(), fetcher.said()] == ["asked", "DONE"]


def test_a_fetch_ends_whose_peer_was_never_reached(fetcher: Peer) -> None:
    fall_silent()
    fetcher.tell("")
    assert fetcher.said() == "asked"
    assert end_of(fetcher) == "lost"


def test_a_fetch_ends_whose_peer_never_hears_of_it(fetcher: Peer) -> None:
    fetched(fetcher)
    fall_silent()
    fetcher.tell("")
    assert fetcher.said() == "asked"
    assert end_of(fetcher) == "lost"


def test_a_fetch_ends_whose_peer_heard_of_it_and_then_fell_silent(holder: Peer, fetcher: Peer) -> None:
    fetched(fetcher)
    holder.process.send_signal(signal.SIGSTOP)
    fetcher.tell("")
    assert fetcher.said() == "asked"
    fall_silent()
    assert end_of(fetcher) == "lost"
