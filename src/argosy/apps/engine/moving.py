"""KV caches between engines: a prompt computed here is answered there.

Rules of this file:
- The contract is that of vLLM's NixlConnector: who computes answers where the state is, who answers pulls it.
- Whatever goes wrong with a state ends in computing the prompt here: it is logged and counted, and the
  answer says so in a header.
- Where both engines share the memory that files are in, the file itself is handed over instead of its bytes. It is
  checked all the same.
- An address is taken literally, and only with this engine's own port: a request cannot have others called.
- `hold` and `fetch` block; they belong to the thread that has the slot.

Source: vLLM, `distributed/kv_transfer/kv_connector/v1/nixl`.
"""

import errno
import hashlib
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from xxhash import xxh3_128

from argosy.apps.engine.held import Held
from argosy.apps.engine.kv_header import (
    Header,
    Identity,
    StateError,
    check_header,
    decode_header,
    encode_header,
    header_limit_bytes,
    state_preface_bytes,
    state_tokens,
)
from argosy.apps.engine.metrics import Metrics
from argosy.apps.engine.model import Model
from argosy.apps.engine.slot_files import SlotError, SlotFiles
from argosy.base.errors import CallerError, UserError
from argosy.edge.transfer.fetching import Fetching
from argosy.edge.transfer.folder import PrivateFolder
from argosy.edge.transfer.sending import Sender
from argosy.edge.transfer.wire import TICKET_BYTES, TransferError
from argosy.edge.weights.gguf import Gguf
from argosy.engines.llama_cpp import KV_TYPE, Settings, kv_room_bytes, kv_state_bytes
from argosy.engines.moved import NotMoved

PULL_S: Final = 15.0
"""How long one transfer may take in all: computing a prompt again seldom takes longer."""
_FAILURES: Final = (TransferError, StateError, SlotError, OSError)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_TICKET: Final = re.compile(f"[0-9a-f]{{{TICKET_BYTES}}}")
_log = logging.getLogger(__name__)


class _Source(msgspec.Struct):
    """What is read of `kv_transfer_params` in a request that is to be answered."""

    remote_host: str
    remote_port: int
    remote_request_id: str


class Moving:
    """What one engine does about the states of others and its own. Belongs to the loop that it is made in."""

    def __init__(
        self, model: Model, folder: PrivateFolder, settings: Settings, weights: Gguf, metrics: Metrics
    ) -> None:
        if model.files is None:
            raise CallerError("the model was loaded without a folder for states")
        _check_host(settings.host)
        self._files: SlotFiles = model.files
        self._folder = folder
        self._settings = settings
        self._metrics = metrics
        self._identity = Identity(
            weights=model.digest,
            quantization=weights.quantization or "",
            adapter="",
            kv_type=KV_TYPE,
            slots=settings.parallel,
            build=model.build,
        )
        self._adapter_digests = model.adapter_digests
        self._most_bytes = kv_state_bytes(weights.kv_bytes_per_token, settings.context_tokens)
        self._engine_id = secrets.token_hex(8)
        room_bytes = kv_room_bytes(weights.kv_bytes_per_token, settings)
        self.held = Held(room_bytes=room_bytes, deadline_s=settings.kv_deadline_s, expired=metrics.count_expired)
        metrics.show_held(states=lambda: self.held.states, taken_bytes=lambda: self.held.taken_bytes)
        self._sender = Sender((settings.host, settings.kv_port), self.held.take, within_s=PULL_S)

    def close(self) -> None:
        """Serve no more pulls."""
        self._sender.close()

    def hold(self, slot: int, adapter: str) -> dict[str, Any] | None:
        """Keep what the slot holds for whoever answers, and say where; None when it cannot be kept."""
        ticket = secrets.token_hex(TICKET_BYTES // 2)
        path = self._folder.path / ticket
        if not self.held.reserve(self._most_bytes):
            self._metrics.count_not_held()
            return None
        try:
            size_bytes = self._files.save(slot, path.name)
            header = self._described(path, size_bytes, adapter)
        except _FAILURES as error:
            _log.warning("the state of a prompt is not kept: %s", error)
            path.unlink(missing_ok=True)
            self.held.release(self._most_bytes)
            self._metrics.count_not_held()
            return None
        self.held.release(self._most_bytes - size_bytes)
        self.held.put(ticket, header=encode_header(header), path=path, size_bytes=size_bytes)
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_engine_id": self._engine_id,
            "remote_block_ids": [],
            "remote_request_id": ticket,
            "remote_host": self._settings.host,
            "remote_port": self._settings.kv_port,
            "remote_num_tokens": header.token_count,
        }

    def forget(self, kept: dict[str, Any]) -> None:
        """Free a state whose answer did not reach anybody; `kept` is what `hold` gave."""
        self.held.drop(kept["remote_request_id"])

    def fetch(self, source: dict[str, Any], slot: int, adapter: str, unwanted: Callable[[], bool]) -> int | NotMoved:
        """Have the slot hold the state that `source` names; gives its tokens, or why it did not come to that."""
        begun_s = time.monotonic()
        try:
            header = self._pull(source, slot, adapter, unwanted)
        except _FAILURES as error:
            _log.warning("the state of a prompt did not come, it is computed here: %s", error)
            self._metrics.count_failed_transfer()
            return _why(error)
        self._metrics.note_transfer(seconds=time.monotonic() - begun_s, size_bytes=header.state_bytes)
        return header.token_count

    def _described(self, path: Path, size_bytes: int, adapter: str) -> Header:
        """Say what is in a file that llama.cpp has written."""
        if not 0 < size_bytes <= self._most_bytes:
            raise StateError(f"it has {size_bytes} bytes; up to {self._most_bytes} are expected")
        tokens, checksum = _read_state(path, self._settings.context_tokens)
        return Header(
            identity=self._identified(adapter),
            tokens=tokens,
            state_bytes=size_bytes,
            checksum=checksum,
            folder=self._folder.path.name,
        )

    def _pull(self, source: dict[str, Any], slot: int, adapter: str, unwanted: Callable[[], bool]) -> Header:
        asked = self._checked(source)
        own = self._identified(adapter)
        context_tokens = self._settings.context_tokens
        with Fetching((asked.remote_host, asked.remote_port), within_s=PULL_S, unwanted=unwanted) as peer:
            said = peer.header(asked.remote_request_id, limit_bytes=header_limit_bytes(context_tokens))
            header = decode_header(said)
            check_header(header, own, context_tokens=context_tokens, limit_bytes=self._most_bytes)
            if not self.held.reserve(header.state_bytes):
                raise StateError("there is no room for it", "no_room")
            name = f"{secrets.token_hex(TICKET_BYTES // 2)}.in"
            path = self._folder.path / name
            try:
                if not self._folder.take(header.folder, asked.remote_request_id, name):
                    with path.open("xb", buffering=0) as file:
                        for piece in peer.pieces(header.state_bytes):
                            file.write(piece)
                _check_state(path, header)
                peer.acknowledge()
                self._files.restore(slot, name)
            finally:
                path.unlink(missing_ok=True)
                self.held.release(header.state_bytes)
        return header

    def _identified(self, adapter: str) -> Identity:
        return msgspec.structs.replace(self._identity, adapter=self._adapter_digests[adapter])

    def _checked(self, source: dict[str, Any]) -> _Source:
        try:
            asked = msgspec.convert(source, _Source)
            address = ipaddress.ip_address(asked.remote_host)
        except (ValueError, msgspec.ValidationError) as error:
            raise StateError(f"it is not said properly where it is: {error}", "refused") from None
        if asked.remote_port != self._settings.kv_port or address.is_unspecified or address.is_multicast:
            raise StateError(f"{asked.remote_host}:{asked.remote_port} is not asked for states", "refused")
        if not _TICKET.fullmatch(asked.remote_request_id):
            raise StateError("its ticket is not one of ours", "refused")
        return asked


def _why(error: Exception) -> NotMoved:
    """Say in a word why a state did not come."""
    if isinstance(error, (TransferError, StateError)):
        return error.why
    return "no_room" if isinstance(error, OSError) and error.errno in _FULL else "not_restored"


def _check_host(host: str) -> None:
    """Raise UserError for an address that no other engine can be told."""
    try:
        told = not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        told = False
    if not told:
        raise UserError(f"--host {host}: other engines are told this address; name an IP address of this one's own")


def _check_state(path: Path, header: Header) -> None:
    """Raise StateError unless the file is the state that was sent, of the tokens that its header names."""
    size_bytes = path.stat().st_size
    if size_bytes != header.state_bytes:
        raise StateError(f"{size_bytes} of its {header.state_bytes} bytes are there")
    tokens, checksum = _read_state(path, header.token_count)
    if checksum != header.checksum:
        raise StateError("its checksum is wrong")
    if tokens != header.tokens:
        raise StateError("it is not that of the tokens that its header names")


def _read_state(path: Path, most_tokens: int) -> tuple[bytes, bytes]:
    """Give tokens and checksum of a state of up to so many tokens."""
    with path.open("rb", buffering=0) as file:
        tokens = state_tokens(file.read(state_preface_bytes(most_tokens)))
        file.seek(0)
        return tokens, hashlib.file_digest(file, xxh3_128).digest()
