"""A worker of real vLLM, told what planning tells it: it serves the embedded model on CPU and moves KV with NIXL."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from argosy.api.names import ENGINE_PORT, KV_PORT
from argosy.api.vllm_options import VLLMOptions
from argosy.base.endpoint import Endpoint
from argosy.engines import vllm
from harness import vllm_environment
from harness.waiting import until, wait_for

MODEL = "smollm2"
START_S = 300.0
KILLED_S = 180.0
CHUNK_TOKENS = 256
"""How much of a prompt it computes in one step; between two steps it takes note of who has left."""
_numbers = itertools.count(1)


class VLLMWorker:
    """A worker at a loopback address of its own; its processes are a group."""

    def __init__(self, kv_role: vllm.KVRole, *, log: Path) -> None:
        self.endpoint = Endpoint(f"127.250.{os.getpid() % 256}.{next(_numbers)}", ENGINE_PORT)
        self.log = log
        self._settings = vllm.Settings(
            model=MODEL,
            weights=str(vllm_environment.model()),
            on_cpu=True,
            kv_role=kv_role,
            host=self.endpoint.address,
            port=self.endpoint.port,
            kv_port=KV_PORT,
            threads="1",
            context_tokens=2048,
            parallel=8,
            kv_bytes=96 * 1024**2,
            options=VLLMOptions(max_batched_tokens=CHUNK_TOKENS),
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it is ready much later."""
        words = [vllm_environment.python(), "-m", vllm.MODULE, *vllm.args(self._settings)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                words, env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )

    async def ready(self) -> None:
        """Wait until it takes requests."""
        await until(self._is_ready, within_s=START_S)

    def pause(self, *, whole: bool) -> None:
        """Stop its time: that of all its processes, or of the one that takes requests."""
        self._signal(signal.SIGSTOP, whole=whole)

    def go_on(self) -> None:
        """Let its time go on."""
        self._signal(signal.SIGCONT, whole=True)

    def kill(self) -> None:
        """Kill all its processes, at once, and wait for their end.

        Their connections break when they end, not when they are killed: the kernel frees a process's memory first, for
        which one on a busy machine has waited half a minute for a turn.
        """
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._signal(signal.SIGKILL, whole=True)
            wait_for(lambda: not _lives(process.pid), "it outlived SIGKILL", within_s=KILLED_S)
            process.wait()

    async def ask(self, body: dict[str, Any]) -> Any:
        """Have it serve a chat request alone; give its answer."""
        async with self._http() as http, http.post("/v1/chat/completions", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def metric(self, name: str, **labels: str) -> float:
        """Give the sum of the samples of a name, without `vllm:`, that have these labels."""
        async with self._http() as http, http.get("/metrics") as answer:
            page = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == f"vllm:{name}" and labels.items() <= sample.labels.items()
        )

    async def tokens(self) -> dict[str, float]:
        """Give how many tokens of prompts it has had until now, by where their KV came from."""
        sources = ("local_compute", "local_cache_hit", "external_kv_transfer")
        return {source: await self.metric("prompt_tokens_by_source_total", source=source) for source in sources}

    def _environment(self) -> dict[str, str]:
        # As between pods: on one host NIXL would read the other process's memory, without its doing anything.
        return os.environ | vllm.environment(self._settings) | {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"}

    async def _is_ready(self) -> bool:
        assert self.is_running, self.log.read_text()[-4000:]
        try:
            async with self._http() as http, http.get("/health") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    def _http(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(f"http://{self.endpoint}", timeout=aiohttp.ClientTimeout(total=120))

    def _signal(self, number: int, *, whole: bool) -> None:
        assert self._process is not None, "it was not started"
        (os.killpg if whole else os.kill)(self._process.pid, number)


def _lives(group: int) -> bool:
    """Say whether a group has a process of which a thread has not ended."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended while we looked
            state, _, of, *more = status.read_text().rpartition(")")[2].split()
            threads = int(more[14])  # `num_threads`, proc_pid_stat(5); the first may have ended before others
            if int(of) == group and (state not in "ZX" or threads > 1):
                return True
    return False


async def start_together(*workers: VLLMWorker) -> None:
    """Start those of them that do not run, and wait until all are ready."""
    for worker in workers:
        if not worker.is_running:
            worker.start()
    await asyncio.gather(*(worker.ready() for worker in workers))
