import itertools

from argosy.api.kubernetes import Pod, PodSpec
from argosy.api.objects import ObjectMeta
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import Change

POD = Pod(metadata=ObjectMeta(name="p", namespace="default"), spec=PodSpec(containers=()))


async def test_an_object_that_is_to_go_stays_until_it_is_deleted_and_says_so_once() -> None:
    times, uids = itertools.count(), itertools.count()
    store = InMemoryStore(now=lambda: f"t{next(times)}", new_uid=lambda: f"u{next(uids)}")
    made = await store.apply(POD, owner="me")
    since = (await store.list(Pod)).resource_version
    await store.end(Pod, made.key, uid="another")
    await store.end(Pod, made.key, uid=made.metadata.uid)
    ending = await store.get(Pod, made.key)
    assert ending is not None
    assert (ending.metadata.deletion_timestamp, ending.metadata.uid) == ("t1", made.metadata.uid)
    await store.end(Pod, made.key, uid=made.metadata.uid)
    assert await store.get(Pod, made.key) == ending
    changed = await store.apply(Pod(metadata=POD.metadata, spec=PodSpec(containers=(), node_name="n")), owner="me")
    assert changed.metadata.deletion_timestamp == "t1", "what is to go does not come back"
    await store.delete(Pod, made.key, uid=made.metadata.uid)
    watch = store.watch(Pod, since=since)
    assert [(await anext(watch)).change for _ in range(3)] == [Change.MODIFIED, Change.MODIFIED, Change.DELETED]
    await store.end(Pod, made.key, uid=made.metadata.uid)
    assert await store.get(Pod, made.key) is None
