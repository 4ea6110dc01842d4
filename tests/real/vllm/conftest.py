"""Two workers of real vLLM for the tests of this folder, which need no cluster.

Where vLLM is not installed its tests are left out, and a line at the end says why.
"""

from collections.abc import Iterator

import pytest

from harness import vllm_environment
from harness.vllm_worker import VLLMWorker

collect_ignore_glob = [] if vllm_environment.built() else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not vllm_environment.built():
        reason = vllm_environment.cannot_build_reason() or "it is not installed; `make test-real` installs it"
        terminalreporter.write_line(f"the tests of vLLM are left out: {reason}")


@pytest.fixture(autouse=True)
def inside() -> None:
    """The test belongs to no cluster."""


@pytest.fixture(scope="module")
def prefill_and_decode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VLLMWorker, VLLMWorker]]:
    """A prefill and a decode worker that are not started yet, and are killed at the end."""
    folder = tmp_path_factory.mktemp("vllm")
    prefill = VLLMWorker("kv_producer", log=folder / "prefill.log")
    decode = VLLMWorker("kv_consumer", log=folder / "decode.log")
    yield prefill, decode
    for worker in (prefill, decode):
        worker.kill()
