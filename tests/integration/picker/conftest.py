"""A store with a service of two replicas, for pickers that run as processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.api.objects import Object
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.serve import serve_store
from harness.services import gateway, gateway_class, service

ONE, TWO = "127.1.0.1", "127.1.0.2"


@pytest.fixture
async def store_address(tmp_path: Path) -> AsyncIterator[str]:
    numbers = iter(range(10_000))
    store = InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"uid-{next(numbers)}")
    objects: tuple[Object, ...] = (gateway_class(), gateway(), *service("a", [ONE, TWO], model="m"))
    async with serve_store(store, tmp_path / "store.sock"):
        for obj in objects:
            await store.apply(obj, owner="test")
            if obj.KIND == "Pod":
                await store.write_status(obj)
        yield f"unix://{tmp_path / 'store.sock'}"
