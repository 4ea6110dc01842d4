"""llama.cpp in this process, behind four calls. The only file that knows xllamacpp.

What was found by running xllamacpp 2026.10.11549:
- `Server` cannot be built without an HTTP listener of its own. (No host name at all crashes it.) It gets a unix socket
  in a private directory. Where states of slots move that is the only way to them, and asks for a key (`slot_files`);
  else it is unlinked as soon as it exists, and nobody can ever connect.
- Building it holds the interpreter lock until the weights are loaded. They are read through once before, without the
  lock, so that what remains is short.
- It installs its own handlers for SIGINT and SIGTERM. Ours is a thread in `sigwait` (see `process`), which no handler
  disturbs.
- `handle_*` blocks its thread and calls back once per chunk. A callback that returns True ends the generation; it is
  called at least once per batch of the prompt when progress is asked for, which bounds the wait for a cancellation.
- What is wrong with a request comes back as an error chunk, or as an exception before the first chunk.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import xllamacpp
from xxhash import xxh3_128

from argosy.apps.engine.request import Request, read_request
from argosy.apps.engine.slot_files import SlotFiles
from argosy.base.errors import UserError
from argosy.engines.llama_cpp import Settings

_BATCH_TOKENS: Final = 128
"""Prompt tokens in one step. Other answers and cancellations wait for it: 0.9 s on a slow core; 512 would take 3.6 s
there, and be 1 % faster in all."""
_READ_BYTES: Final = 8 * 1024 * 1024
_ERRORS_ONLY: Final = 1
_MAX_SOCKET_PATH: Final = 100
_SLOT_FILE_THREADS: Final = 2


class RefusedError(Exception):
    """llama.cpp does not take a request; the text says why."""


class Model:
    """One loaded model with its slots."""

    build: Final = str(xllamacpp.__version__)

    def __init__(self, server: Any, files: SlotFiles | None) -> None:
        self._server = server
        self.files = files
        """How states of slots come and go; None where they do not."""
        self.digest = ""
        """xxh3-128 of the weights' file."""
        self.start_s: dict[str, float] = {}
        """How long each phase of the start took, in seconds."""

    @classmethod
    def load(
        cls, path: str, settings: Settings, unwanted: Callable[[], bool], states: Path | None = None
    ) -> Self | None:
        """Load the weights; blocks. None when they became `unwanted` meanwhile. Raises UserError.

        `states` is a private folder for states of slots, which then can be saved and restored.
        """
        begun_s = time.monotonic()
        try:
            digest = _read_through(path, unwanted)
            if digest is None:
                return None
            read_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="argosy-engine-") as folder:
                files = SlotFiles(states) if states else None
                model = cls._build(path, settings, files, Path(folder))
        except OSError as error:
            raise UserError(
                f"weights {path}: cannot be loaded ({error}); see that files and TMPDIR are there"
            ) from None
        model.digest = digest
        loaded_s = time.monotonic()
        model._warm_up(settings)  # noqa: SLF001 (its own class)
        model.start_s = {
            "weights": read_s - begun_s, "load": loaded_s - read_s, "warm_up": time.monotonic() - loaded_s
        }  # fmt: skip
        return model

    @classmethod
    def _build(cls, path: str, settings: Settings, files: SlotFiles | None, unreachable: Path) -> Self:
        socket_path = files.socket_path if files else unreachable / "unreachable.sock"
        if len(str(socket_path)) > _MAX_SOCKET_PATH:
            raise UserError(f"{socket_path.parent}: too long a path for a socket; set TMPDIR to a shorter one")
        params = _params(path, settings, str(socket_path))
        if files is not None:
            params.endpoint_slots = True
            params.slot_save_path = f"{files.folder}/"
            params.api_keys = [files.key]
            params.n_threads_http = _SLOT_FILE_THREADS
        try:
            return cls(xllamacpp.Server(params), files)
        except RuntimeError:
            raise UserError(
                f"weights {path}: this llama.cpp ({xllamacpp.__version__}) does not load this model, or memory is "
                f"short for {settings.parallel} x {settings.context_tokens} tokens; the lines above say which",
            ) from None

    def generate(self, request: Request, give: Callable[[bytes], bool], *, slot: int = 0, reuses: bool = True) -> None:
        """Answer one request; blocks until it ends, or until `give` returns True. Raises RefusedError.

        What the slot holds is continued as far as the prompt begins alike, if `reuses` says that it may be.
        """
        handle = self._server.handle_chat_completions if request.kind == "chat" else self._server.handle_completions
        try:
            handle(request.in_slot(slot, reuses=reuses), give)
        except (ValueError, RuntimeError, LookupError, ArithmeticError) as error:
            raise RefusedError(str(error)) from error

    def _warm_up(self, settings: Settings) -> None:
        """Compute one token, so that the first client does not wait for what is done once."""
        body = msgspec.json.encode({"prompt": "Hello", "max_tokens": 1})
        request = read_request(
            body, kind="completion", served=(), name=settings.model, context_tokens=settings.context_tokens
        )
        if isinstance(request, Request):
            self.generate(request, lambda _chunk: False)

    def close(self) -> None:
        """End llama.cpp's threads and free its memory. No generation may be running."""
        self._server = None


def _read_through(path: str, unwanted: Callable[[], bool]) -> str | None:
    """Bring the file into memory without the interpreter lock and give its digest; None when it became unwanted."""
    buffer = memoryview(bytearray(_READ_BYTES))
    digest = xxh3_128()
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            if unwanted():
                return None
    return digest.hexdigest()


def _params(path: str, settings: Settings, socket_path: str) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {settings.model}
    params.n_ctx = settings.context_tokens * settings.parallel  # llama.cpp divides it among the slots
    params.n_parallel = settings.parallel
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.cache_ram_mib = 0  # only what is in a slot is cached: memory stays what planning reckons with
    params.fit_params = False  # the context is what was asked for, or an error
    params.hostnames = [socket_path]
    params.n_threads_http = 1
    params.ui = False
    params.warmup = False  # ours computes a real token
    params.verbosity = _ERRORS_ONLY
    return params
