from pathlib import Path

import pytest
import yaml

from argosy.api.kinds import kind_named
from argosy.api.objects import Object, decode, encode
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.settled import settled
from harness.control_plane import ControlPlane
from harness.laptop import ROOT, run

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def rendered(path: Path) -> list[Object]:
    objects = []
    for document in yaml.safe_load_all(run("render", "--laptop", path).stdout):
        kind = kind_named(document["apiVersion"], document["kind"])
        assert kind is not None
        objects.append(decode(kind, document))
    return objects


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_every_rendered_object_is_accepted_with_strict_validation_and_is_then_settled(
    cluster: ControlPlane, store: KubernetesStore, path: Path
) -> None:
    objects = rendered(path)
    for obj in objects:
        if not obj.NAMESPACED:
            await store.apply(obj, owner="argosy")
    strict = ("apply", "--server-side", "--field-manager=argosy", "--validate=strict", "-f", "-")
    everything = run("render", "--crd", "--laptop", path).stdout
    cluster.kubectl(*strict, "--dry-run=server", stdin=everything)
    first = [await store.apply(obj, owner="argosy") for obj in objects]
    for obj, made in zip(objects, first, strict=True):
        raw = await store._read(type(obj), obj.key)
        assert settled(encode(obj), raw, manager="argosy"), f"{obj.KIND} {obj.key} would be written again"
        assert made.key == obj.key
    documents = list(yaml.safe_load_all(cluster.kubectl(*strict, "--output=yaml", stdin=everything)))
    assert all(document["kind"] == "List" or document["metadata"]["uid"] for document in documents)
