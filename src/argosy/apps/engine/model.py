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
- A slot knows the adapter of its last request. Asked for another one it forgets what it holds; asked for the base model
  it does not, and continues with what the adapter has computed. So `reuses` is for whoever asks to know.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import xllamacpp
from xxhash import xxh3_128

from argosy.apps.engine.request import Request, Unfit, read_request
from argosy.apps.engine.slot_files import SlotFiles
from argosy.base.errors import CallerError, UserError
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

    def __init__(self, server: Any, files: SlotFiles | None, settings: Settings) -> None:
        self._server = server
        self._settings = settings
        self.files = files
        """How states of slots come and go; None where they do not."""
        self.digest = ""
        """xxh3-128 of the weights' file."""
        self.adapter_digests = {"": ""}
        """The same of each adapter's, by name; the base model has none."""
        self.start_s: dict[str, float] = {}
        """How long each phase of the start took, in seconds."""

    @classmethod
    def load(
        cls, paths: Sequence[str], settings: Settings, unwanted: Callable[[], bool], states: Path | None = None
    ) -> Self | None:
        """Load the weights, and the adapters, whose files follow; blocks. None when they became `unwanted` meanwhile.

        `states` is a private folder for states of slots, which then can be saved and restored. Raises UserError.
        """
        begun_s = time.monotonic()
        path = paths[0]
        try:
            digests = [digest for each in paths if (digest := _read_through(each, unwanted)) is not None]
            if unwanted():
                return None
            read_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="argosy-engine-") as folder:
                files = SlotFiles(states) if states else None
                model = cls._build(paths, settings, files, Path(folder))
        except OSError as error:
            raise UserError(
                f"weights {path}: cannot be loaded ({error}); see that files and TMPDIR are there"
            ) from None
        model.digest, *others = digests
        model.adapter_digests |= {each.name: digest for each, digest in zip(settings.adapters, others, strict=True)}
        loaded_s = time.monotonic()
        model._warm_up()  # noqa: SLF001 (its own class)
        model.start_s = {
            "weights": read_s - begun_s, "load": loaded_s - read_s, "warm_up": time.monotonic() - loaded_s
        }  # fmt: skip
        return model

    @classmethod
    def _build(cls, paths: Sequence[str], settings: Settings, files: SlotFiles | None, unreachable: Path) -> Self:
        socket_path = files.socket_path if files else unreachable / "unreachable.sock"
        if len(str(socket_path)) > _MAX_SOCKET_PATH:
            raise UserError(f"{socket_path.parent}: too long a path for a socket; set TMPDIR to a shorter one")
        params = _params(paths, settings, str(socket_path))
        if files is not None:
            params.endpoint_slots = True
            params.slot_save_path = f"{files.folder}/"
            params.api_keys = [files.key]
            params.n_threads_http = _SLOT_FILE_THREADS
        try:
            return cls(xllamacpp.Server(params), files, settings)
        except RuntimeError:
            other = ", or an adapter is not made for it" if settings.adapters else ""
            raise UserError(
                f"weights {paths[0]}: this llama.cpp ({Model.build}) does not load this model{other}, or memory "
                f"is short for {settings.parallel} x {settings.context_tokens} tokens; the lines above say which",
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

    def take_on(self, slot: int, adapter: str) -> None:
        """Have a slot forget what it holds and know an adapter, before a state of that adapter is restored into it.

        Else the request that is to continue the state would be the one to have it forgotten.
        """
        if adapter:
            self.generate(self._smallest(adapter), lambda chunk: chunk != b"null", slot=slot, reuses=False)

    def _warm_up(self) -> None:
        """Compute one token, so that the first client does not wait for what is done once."""
        self.generate(self._smallest(self._settings.model), lambda _chunk: False)

    def _smallest(self, model: str) -> Request:
        body = msgspec.json.encode({"model": model, "prompt": "Hello", "max_tokens": 1})
        request = read_request(body, kind="completion", settings=self._settings)
        if isinstance(request, Unfit):
            raise CallerError(request.why)
        return request

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


def _params(paths: Sequence[str], settings: Settings, socket_path: str) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = paths[0]
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in paths[1:]]  # none unless asked for
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
