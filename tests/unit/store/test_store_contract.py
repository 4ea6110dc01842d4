import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.remote import RemoteStore
from argosy.edge.kube.serve import serve_store
from contracts.store_contract import Harness, StoreContract


def memory_store(history: int = 1024) -> InMemoryStore:
    uids = map("uid-{}".format, itertools.count())
    return InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: next(uids), history=history)


class TestInMemoryStore(StoreContract):
    @pytest.fixture
    def harness(self) -> Harness:
        store = memory_store()
        return Harness(store, "space", store.forget_history)


class TestRemoteStore(StoreContract):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Harness]:
        store = memory_store()
        path = tmp_path / "store.sock"
        async with serve_store(store, path), RemoteStore(f"unix://{path}") as remote:
            yield Harness(remote, "space", store.forget_history)
