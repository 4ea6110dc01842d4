"""llama.cpp in this process, behind four calls. The only file that knows xllamacpp.

What was found by running xllamacpp 2026.10.11549:
- `Server` cannot be built without an HTTP listener of its own. It gets a unix socket in a private directory, which is
  unlinked as soon as it exists: nobody can ever connect. (No host name at all crashes it.)
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

from argosy.apps.engine.request import Request, read_request
from argosy.base.errors import UserError
from argosy.engines.llama_cpp import Settings

_BATCH_TOKENS: Final = 128
"""Prompt tokens in one step. Other answers and cancellations wait for it: 0.9 s on a slow core; 512 would take 3.6 s
there, and be 1 % faster in all."""
_READ_BYTES: Final = 8 * 1024 * 1024
_ERRORS_ONLY: Final = 1
_MAX_SOCKET_PATH: Final = 100


class RefusedError(Exception):
    """llama.cpp does not take a request; the text says why."""


class Model:
    """One loaded model with its slots."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.start_s: dict[str, float] = {}
        """How long each phase of the start took, in seconds."""

    @classmethod
    def load(cls, path: str, settings: Settings, unwanted: Callable[[], bool]) -> Self | None:
        """Load the weights; blocks. None when they became `unwanted` meanwhile. Raises UserError."""
        begun_s = time.monotonic()
        try:
            if not _read_through(path, unwanted):
                return None
            read_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="argosy-engine-") as folder:
                model = cls._build(path, settings, folder)
        except OSError as error:
            raise UserError(
                f"weights {path}: cannot be loaded ({error}); see that files and TMPDIR are there"
            ) from None
        loaded_s = time.monotonic()
        model._warm_up(settings)  # noqa: SLF001 (its own class)
        model.start_s = {
            "weights": read_s - begun_s, "load": loaded_s - read_s, "warm_up": time.monotonic() - loaded_s
        }  # fmt: skip
        return model

    @classmethod
    def _build(cls, path: str, settings: Settings, folder: str) -> Self:
        unreachable = Path(folder) / "unreachable.sock"
        if len(str(unreachable)) > _MAX_SOCKET_PATH:
            raise UserError(f"{folder}: too long a path for a socket; set TMPDIR to a shorter one")
        try:
            return cls(xllamacpp.Server(_params(path, settings, str(unreachable))))
        except RuntimeError:
            raise UserError(
                f"weights {path}: this llama.cpp ({xllamacpp.__version__}) does not load this model, or memory is "
                f"short for {settings.parallel} x {settings.context_tokens} tokens; the lines above say which",
            ) from None

    def generate(self, request: Request, give: Callable[[bytes], bool]) -> None:
        """Answer one request; blocks until it ends, or until `give` returns True. Raises RefusedError."""
        handle = self._server.handle_chat_completions if request.kind == "chat" else self._server.handle_completions
        try:
            handle(request.payload, give)
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


def _read_through(path: str, unwanted: Callable[[], bool]) -> bool:
    """Bring the file into memory without the interpreter lock; False when it became unwanted."""
    buffer = bytearray(_READ_BYTES)
    with Path(path).open("rb", buffering=0) as file:
        while file.readinto(buffer):
            if unwanted():
                return False
    return True


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
