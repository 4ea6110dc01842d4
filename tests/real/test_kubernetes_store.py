import json
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from argosy.api.gateway import HTTPRoute
from argosy.api.kubernetes import Namespace
from argosy.api.objects import Object, ObjectMeta, encode
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import Connection, settings_in_cluster, settings_of_kubeconfig
from argosy.edge.kube.port import NotFound, OwnedByAnother, Rejected, StoreUnavailable
from argosy.edge.kube.settled import settled
from contracts.store_contract import Harness, StoreContract, route, status, with_status
from harness.control_plane import API_ADDRESS, API_PORT, ControlPlane


class Unserved(Object, frozen=True, kw_only=True):
    API_VERSION = "nobody.example/v1"
    KIND = "Unserved"
    PLURAL = "unserved"


class Numbers(Object, frozen=True, kw_only=True):
    """A ConfigMap in which only the number 1 may stand."""

    API_VERSION = "v1"
    KIND = "ConfigMap"
    PLURAL = "configmaps"

    data: dict[str, Literal["1"]] = {}


class TestKubernetesStore(StoreContract):
    @pytest.fixture
    def harness(self, cluster: ControlPlane, store: KubernetesStore, namespace: str) -> Harness:
        return Harness(store, namespace, cluster.forget_history)


async def test_a_field_that_another_manager_changed_is_theirs_by_name(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    made = await store.apply(route(namespace, labels={"a": "1"}), owner="test")
    cluster.kubectl("label", "httproute", "a", "a=2", "--overwrite", f"--namespace={namespace}")
    with pytest.raises(OwnedByAnother) as refusal:
        await store.apply(route(namespace, labels={"a": "1"}), owner="test")
    assert refusal.value.owner == "kubectl-label"
    (kept,) = (await store.list(HTTPRoute, namespace=namespace)).items
    assert kept.metadata.labels == {"a": "2"}
    assert kept.spec == made.spec


async def test_a_bare_object_is_settled_once_it_is_applied(store: KubernetesStore, namespace: str) -> None:
    wanted = route(namespace)
    await store.apply(wanted, owner="test")
    assert settled(encode(wanted), await store._read(HTTPRoute, wanted.key), manager="test")


async def test_fields_of_others_stay_and_are_no_reason_to_write(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    await store.apply(route(namespace, labels={"a": "1"}), owner="test")
    cluster.kubectl("label", "httproute", "a", "theirs=1", f"--namespace={namespace}")
    (before,) = (await store.list(HTTPRoute, namespace=namespace)).items
    assert await store.apply(route(namespace, labels={"a": "1"}), owner="test") == before
    assert before.metadata.labels == {"a": "1", "theirs": "1"}


async def test_what_is_left_out_of_a_list_owned_as_a_whole_is_removed(store: KubernetesStore, namespace: str) -> None:
    plain = route(namespace)
    (rule,) = plain.spec.rules
    limited = msgspec.structs.replace(rule, timeouts={"request": "5s"})
    await store.apply(
        msgspec.structs.replace(plain, spec=msgspec.structs.replace(plain.spec, rules=(limited,))), owner="test"
    )
    assert (await store.apply(plain, owner="test")).spec.rules[0].timeouts == {}


async def test_an_invalid_object_is_rejected_with_the_servers_words(store: KubernetesStore, namespace: str) -> None:
    with pytest.raises(Rejected, match=r"spec\.rules"):
        await store.apply(route(namespace, weight=-1), owner="test")


async def test_an_object_for_a_namespace_that_is_not_there_is_not_found(store: KubernetesStore) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await store.apply(route("nowhere"), owner="test")


async def test_a_kind_that_is_not_served_may_be_served_later(store: KubernetesStore) -> None:
    with pytest.raises(StoreUnavailable, match=r"nobody\.example"):
        await store.list(Unserved)


async def test_an_empty_status_takes_the_whole_status_away(store: KubernetesStore, namespace: str) -> None:
    made = await store.apply(route(namespace), owner="test")
    assert (await store.write_status(with_status(made, "fine"))).status == status("fine")
    assert (await store.write_status(made)).status == made.status
    assert (await store.write_status(made)).status == made.status


async def test_a_condition_without_a_message_is_written(store: KubernetesStore, namespace: str) -> None:
    made = await store.apply(route(namespace), owner="test")
    assert (await store.write_status(with_status(made, ""))).status == status("")


async def test_a_list_of_many_pages_is_one_state(cluster: ControlPlane, namespace: str) -> None:
    settings = settings_of_kubeconfig(cluster.kubeconfig)
    async with KubernetesStore(settings, page=2) as store:
        for number in range(5):
            await store.apply(route(namespace, f"r{number}"), owner="test")
        listing = await store.list(HTTPRoute, namespace=namespace)
        assert [obj.metadata.name for obj in listing.items] == [f"r{number}" for number in range(5)]
        newest = max(listing.items, key=lambda obj: int(obj.metadata.resource_version or 0))
        assert int(listing.resource_version) >= int(newest.metadata.resource_version or 0)


async def test_a_list_whose_version_is_forgotten_between_pages_is_taken_whole(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    class Interrupted(Connection):
        """Writes, and forgets all before it, after the first page."""

        calls = 0

        async def content(self, *args: Any, **options: Any) -> Any:
            answer = await super().content(*args, **options)
            self.calls += 1
            if self.calls == 1:
                await store.apply(route(namespace, "r5"), owner="test")
                cluster.forget_history()
            return answer

    for number in range(5):
        await store.apply(route(namespace, f"r{number}"), owner="test")
    settings = settings_of_kubeconfig(cluster.kubeconfig)
    async with KubernetesStore(settings, page=2) as paged, Interrupted(settings) as interrupted:
        paged._connection = interrupted
        listing = await paged.list(HTTPRoute, namespace=namespace)
    assert [obj.metadata.name for obj in listing.items] == [f"r{number}" for number in range(6)]
    assert interrupted.calls > 1


async def test_a_quiet_watch_goes_on_from_its_bookmark(cluster: ControlPlane, namespace: str) -> None:
    settings = settings_of_kubeconfig(cluster.kubeconfig)
    # The server learns within two intervals of etcd's, 11 s, how far it is, and says so 2 s before the end.
    async with KubernetesStore(settings, watch_s=15) as store:
        since = (await store.list(HTTPRoute, namespace=namespace)).resource_version
        await store.apply(Namespace(metadata=ObjectMeta(name=f"{namespace}-other")), owner="test")
        async with aclosing(store.watch(HTTPRoute, since=since, namespace=namespace)) as events:
            assert [event async for event in events] == []
        told, bookmark = store._bookmarks[HTTPRoute, namespace]
        assert told == since
        assert int(bookmark) > int(since)
        made = await store.apply(route(namespace), owner="test")
        async with aclosing(store.watch(HTTPRoute, since=since, namespace=namespace)) as events:
            assert (await anext(events)).object == made


async def test_an_object_that_cannot_be_read_hides_no_other(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    cluster.kubectl("create", "configmap", "odd", "--from-literal=a=one", f"--namespace={namespace}")
    since = (await store.list(Numbers, namespace=namespace)).resource_version
    cluster.kubectl("create", "configmap", "odder", "--from-literal=a=two", f"--namespace={namespace}")
    cluster.kubectl("create", "configmap", "fine", "--from-literal=a=1", f"--namespace={namespace}")
    listing = await store.list(Numbers, namespace=namespace)
    assert [obj.metadata.name for obj in listing.items] == ["fine"]
    async with aclosing(store.watch(Numbers, since=since, namespace=namespace)) as events:
        assert (await anext(events)).object == listing.items[0]


async def test_a_pod_uses_its_token_file_also_when_it_rotates(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", f"--namespace={namespace}")
    (tmp_path / "ca.crt").write_bytes(cluster.certificate.read_bytes())
    (tmp_path / "token").write_text("of yesterday")
    settings = settings_in_cluster(host=API_ADDRESS, port=str(API_PORT), account=tmp_path)
    async with KubernetesStore(settings) as store:
        with pytest.raises(StoreUnavailable, match="Unauthorized"):
            await store.list(Namespace)
        token = cluster.kubectl("create", "token", "reader", f"--namespace={namespace}")
        (tmp_path / "token").write_text(token)
        with pytest.raises(StoreUnavailable, match=f"system:serviceaccount:{namespace}:reader"):
            await store.list(Namespace)
        cluster.kubectl(
            "create", "clusterrolebinding", namespace, "--clusterrole=view", f"--serviceaccount={namespace}:reader"
        )
        listed = json.loads(cluster.kubectl("get", "namespaces", "--output=json"))
        assert len((await store.list(Namespace)).items) == len(listed["items"])
        with pytest.raises(Rejected, match="forbidden"):
            await store.apply(Namespace(metadata=ObjectMeta(name="mine")), owner="test")
