"""Pods that tests of this folder run, ended with the test."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.api.containers import Container
from harness.running_pod import Running


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*containers: Container, **setting: Any) -> Running:
        started.append(Running(*containers, folder=tmp_path, **setting))
        return started[-1]

    yield begin
    for running in started:
        await running.end()
