"""Two ends of a transfer on a real socket, and the folders that states lie in."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.base.errors import UserError
from argosy.edge.transfer.fetching import Fetching
from argosy.edge.transfer.folder import PrivateFolder, memory_folder
from argosy.edge.transfer.sending import Parcel, Sender
from argosy.edge.transfer.wire import MAGIC, REQUEST_BYTES, TransferError, header_bytes, reply, request, ticket_of

TICKET = "0123456789abcdef" * 2
STATE = os.urandom(3_000_000)
HEADER = b"what it is"


class Store:
    """One state, and what became of it."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(STATE)
        self.sent: list[bool] = []
        self.settled = threading.Event()
        self._parcels = {TICKET: Parcel(header=HEADER, path=path, sent=self._note)}

    def take(self, ticket: str) -> Parcel | None:
        return self._parcels.pop(ticket, None)

    def _note(self, acknowledged: bool) -> None:  # noqa: FBT001 - as a parcel calls it
        self.sent.append(acknowledged)
        self.settled.set()


@pytest.fixture
def where() -> tuple[str, int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", probe.getsockname()[1]


@pytest.fixture
def store(tmp_path: Path, where: tuple[str, int]) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    sender = Sender(where, store.take, within_s=30)
    yield store
    sender.close()


def _fetching(where: tuple[str, int], *, within_s: float = 30.0, unwanted: bool = False) -> Fetching:
    return Fetching(where, within_s=within_s, unwanted=lambda: unwanted)


def test_a_state_arrives_whole_and_its_sender_hears_of_it(store: Store, where: tuple[str, int]) -> None:
    with _fetching(where) as peer:
        assert peer.header(TICKET, limit_bytes=100) == HEADER
        assert b"".join(map(bytes, peer.pieces(len(STATE)))) == STATE
        assert store.sent == []
        peer.acknowledge()
        assert store.settled.wait(10)
    assert store.sent == [True]


def test_a_state_that_is_had_otherwise_is_not_sent(store: Store, where: tuple[str, int]) -> None:
    with _fetching(where) as peer:
        peer.header(TICKET, limit_bytes=100)
        peer.acknowledge()
        assert store.settled.wait(10)
    assert store.sent == [True]


@pytest.mark.parametrize("pieces", [0, 1, None], ids=["before", "during", "after"])
def test_whoever_leaves_without_a_word_has_it_freed_at_once(
    store: Store, where: tuple[str, int], pieces: int | None
) -> None:
    with _fetching(where) as peer:
        peer.header(TICKET, limit_bytes=100)
        if pieces != 0:
            for _ in peer.pieces(len(STATE)):
                if pieces == 1:
                    break
    assert store.settled.wait(10)
    assert store.sent == [False]


def test_a_ticket_is_good_once(store: Store, where: tuple[str, int]) -> None:
    with _fetching(where) as peer:
        peer.header(TICKET, limit_bytes=100)
        with _fetching(where) as late, pytest.raises(TransferError, match="does not have this state"):
            late.header(TICKET, limit_bytes=100)
        assert store.sent == []


def test_a_header_above_the_limit_is_not_read(store: Store, where: tuple[str, int]) -> None:
    with _fetching(where) as peer, pytest.raises(TransferError, match="above 9"):
        peer.header(TICKET, limit_bytes=9)
    assert store.settled.wait(10)


def test_whoever_speaks_another_protocol_gets_nothing(store: Store, where: tuple[str, int]) -> None:
    with socket.create_connection(where, timeout=10) as stranger:
        stranger.sendall(b"GET /v1/models HTTP/1.1\r\nHost: engine\r\n\r\n"[:REQUEST_BYTES])
        assert stranger.recv(100) == b""
    assert store.sent == []
    assert store.take(TICKET) is not None


def test_a_peer_that_says_nothing_is_left_at_the_deadline(where: tuple[str, int]) -> None:
    with socket.create_server(where), _fetching(where, within_s=0.3) as peer:
        begun_s = time.monotonic()
        with pytest.raises(TransferError, match="too long"):
            peer.header(TICKET, limit_bytes=100)
        assert time.monotonic() - begun_s >= 0.2


def test_a_transfer_that_is_not_wanted_any_more_is_left(where: tuple[str, int]) -> None:
    with (
        socket.create_server(where),
        _fetching(where, unwanted=True) as peer,
        pytest.raises(TransferError, match="no longer wanted"),
    ):
        peer.header(TICKET, limit_bytes=100)


def test_a_peer_that_falls_silent_is_left_before_the_deadline(where: tuple[str, int]) -> None:
    with socket.create_server(where), _fetching(where) as peer, pytest.raises(TransferError, match="says nothing"):
        peer.header(TICKET, limit_bytes=100)


def test_nobody_at_an_address_is_an_error_at_once(where: tuple[str, int]) -> None:
    with pytest.raises(TransferError, match="no connection"), _fetching(where):
        pass


def test_a_closed_sender_takes_no_connections_and_an_address_in_use_is_told(where: tuple[str, int]) -> None:
    sender = Sender(where, lambda _: None, within_s=1)
    with pytest.raises(UserError, match="choose another --host or --kv-port"):
        Sender(where, lambda _: None, within_s=1)
    sender.close()
    with pytest.raises(TransferError, match="no connection"), _fetching(where):
        pass


def test_what_is_said_is_understood_in_one_version_only() -> None:
    assert ticket_of(request(TICKET)) == TICKET
    assert header_bytes(reply(HEADER)) == len(HEADER)
    for wrong in (b"argosykx\x01", MAGIC + b"\x02"):
        with pytest.raises(TransferError):
            ticket_of(wrong + TICKET.encode())
        with pytest.raises(TransferError):
            header_bytes(wrong + bytes(4))
    with pytest.raises(TransferError, match="not ASCII"):
        ticket_of(MAGIC + b"\x01" + b"\xff" * 32)


def test_a_folder_is_private_and_goes_with_its_process(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "state").write_bytes(b"x")
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_folders_whose_owners_live_are_left_alone_and_others_removed(tmp_path: Path) -> None:
    living = PrivateFolder(tmp_path)
    orphan, strangers = tmp_path / "argosy-kv-orphan", tmp_path / "mine"
    orphan.mkdir()
    (orphan / "state").write_bytes(b"x")
    strangers.mkdir()
    (tmp_path / "argosy-kv-link").symlink_to(strangers)
    new = PrivateFolder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        living.path.name, new.path.name, "mine", "argosy-kv-link"
    }  # fmt: skip
    living.close()
    new.close()


def test_a_file_of_a_neighbour_is_taken_and_outlives_its_owner(tmp_path: Path) -> None:
    one, other = PrivateFolder(tmp_path), PrivateFolder(tmp_path)
    (one.path / "state").write_bytes(b"x")
    assert other.take(one.path.name, "state", "mine")
    one.close()
    assert (other.path / "mine").read_bytes() == b"x"
    other.close()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("", "secret"),
        ("..", "secret"),
        ("argosy-kv-none", "secret"),
        ("argosy-kv-x", "../secret"),
        ("argosy-kv-x", "link"),
        ("argosy-kv-x", "folder"),
    ],
)
def test_nothing_else_is_taken(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    here = PrivateFolder(tmp_path)
    (tmp_path / "argosy-kv-x" / "folder").mkdir(parents=True)
    (tmp_path / "argosy-kv-x" / "link").symlink_to(tmp_path / "secret")
    assert not here.take(folder, name, "mine")
    assert list(here.path.iterdir()) == []
    here.close()


def test_where_nothing_can_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder can be made"):
        PrivateFolder(tmp_path / "none")


def test_memory_is_used_where_there_is_enough() -> None:
    assert memory_folder(1 << 60) != Path("/dev/shm")  # noqa: S108 - what it must not be
    assert memory_folder(0) == Path("/dev/shm")  # noqa: S108 - every Linux has it
