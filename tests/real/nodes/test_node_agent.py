"""Pods as processes, on the real control plane: workloads, and how their pods are reached and named."""

import os
import signal

import pytest

from harness.control_plane import ControlPlane
from harness.nodes import Nodes, NodeSpec
from harness.space import Program, Space, deployment, pod, program, script, service
from harness.waiting import wait_for

WEB = "web"


@pytest.fixture(scope="module")
def web(space: Space) -> list[Program]:
    """Three pods, one on each node, behind a Service and a headless one."""
    headless = service(WEB, clusterIP="None") | {"metadata": {"name": "web-pods"}}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    spread["labelSelector"] = {"matchLabels": {"app": WEB}}
    space.apply(deployment(WEB, program(), replicas=3, topologySpreadConstraints=[spread]), service(WEB), headless)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    return [Program(each["status"]["podIP"]) for each in space.pods("app=web")]


def cluster_ip(space: Space, name: str) -> str:
    return str(space.get("service", name)["spec"]["clusterIP"])


def test_a_deployment_runs_on_all_nodes_and_all_its_pods_use_the_same_port(space: Space, web: list[Program]) -> None:
    assert {each["spec"]["nodeName"] for each in space.pods("app=web")} == {"node-1", "node-2", "node-3"}
    assert len({each.address for each in web}) == 3
    assert all(each.answers() for each in web)
    assert {each.ask("who")["host"] for each in web} == {each["metadata"]["name"] for each in space.pods("app=web")}


def test_a_cluster_ip_spreads_sessions_over_the_ready_pods(space: Space, web: list[Program]) -> None:
    front = Program(cluster_ip(space, WEB), 8080)
    wait_for(front.answers, "the ClusterIP leads nowhere")
    pods = {each.ask("who")["host"] for each in web}
    wait_for(lambda: {front.ask("who")["host"] for _ in range(40)} == pods, "some pods get no sessions")
    assert not Program(front.address, 8081).answers()


def test_a_pod_reaches_others_itself_and_the_api_server_through_services(space: Space, web: list[Program]) -> None:
    url = f"http://{cluster_ip(space, WEB)}:8080/who"
    wait_for(lambda: len({web[0].ask("fetch", url=url) for _ in range(40)}) == 3, "not all answered, itself among them")
    assert "failed" not in web[0].ask("fetch", url=url)
    assert web[0].ask("fetch", url=f"http://{web[1].address}/peer") == f'"{web[0].address}"'
    environment = web[0].ask("who")["environment"]
    api_server = f"https://{environment['KUBERNETES_SERVICE_HOST']}:{environment['KUBERNETES_SERVICE_PORT']}/version"
    assert "CERTIFICATE_VERIFY_FAILED" in web[0].ask("fetch", url=api_server)  # it answers


def test_a_load_balancer_has_an_address_that_leads_to_the_pods(space: Space, web: list[Program]) -> None:
    balanced = service(WEB, type="LoadBalancer") | {"metadata": {"name": "web-balanced"}}
    space.apply(balanced)

    def address() -> str:
        ingress = space.get("service", "web-balanced")["status"]["loadBalancer"].get("ingress") or [{}]
        return str(ingress[0].get("ip", ""))

    front = Program(wait_for(address, "it got no address"), 8080)
    wait_for(front.answers, "it leads nowhere")
    assert "failed" not in web[0].ask("fetch", url=f"http://{front.address}:8080/who")


def test_names_of_services_are_resolved_and_nothing_else_is(space: Space, web: list[Program]) -> None:
    address = cluster_ip(space, WEB)
    wait_for(lambda: web[0].ask("resolve", name="web-pods"), "the name of a Service was never known")
    for name in ("web", f"web.{space.name}", f"web.{space.name}.svc", f"web.{space.name}.svc.cluster.local"):
        assert web[0].ask("resolve", name=name) == [address]
    pods = sorted(each.address for each in web)
    wait_for(lambda: web[0].ask("resolve", name="web-pods") == pods, "not all pods of the Service were ever known")
    assert web[0].ask("resolve", name="kubernetes.default") == ["10.96.0.1"]
    assert web[0].ask("resolve", name="example.com") == []
    assert "failed" not in web[0].ask("fetch", url="http://web:8080/who")


def test_a_pod_of_a_service_is_left_out_while_it_is_not_ready(space: Space) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/unready"]}, "periodSeconds": 1, "failureThreshold": 1}
    space.apply(pod("moody", program(readinessProbe=probe)), service("moody"))
    moody = space.ready("moody")
    front = Program(cluster_ip(space, "moody"), 8080)
    wait_for(front.answers, "the ClusterIP leads nowhere")
    assert moody.ask("write", path="/unready") == "written"
    wait_for(lambda: not front.answers(), "a pod that is not ready still got sessions")
    assert moody.answers()
    unhealthy = [message for reason, message in space.events("moody") if reason == "Unhealthy"]
    assert any("Readiness probe failed: test ended with exit code 1" in message for message in unhealthy)


def test_pods_of_a_stateful_set_come_in_order_and_have_names(space: Space) -> None:
    headless = service("ordered", clusterIP="None")
    wanted = deployment("ordered", program(), replicas=2)
    wanted["kind"] = "StatefulSet"
    wanted["spec"]["serviceName"] = "ordered"
    space.apply(headless, wanted)
    space.kubectl("rollout", "status", "statefulset/ordered", "--timeout=30s")
    first, second = space.ready("ordered-0"), space.ready("ordered-1")
    assert first.ask("who")["host"] == "ordered-0"
    wait_for(lambda: first.ask("resolve", name="ordered-1.ordered") == [second.address], "a pod's name is not known")


def test_a_job_runs_to_completion_and_a_failing_one_fails(space: Space) -> None:
    def job(name: str, text: str) -> dict[str, object]:
        template = {"spec": {**pod("x", script(text))["spec"], "restartPolicy": "Never"}}
        spec = {"backoffLimit": 0, "completions": 2, "parallelism": 2, "template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}

    space.apply(job("good", "echo done"), job("bad", "echo broken >&2; exit 3"))
    space.kubectl("wait", "--for=condition=Complete", "job/good", "--timeout=30s")
    space.kubectl("wait", "--for=condition=Failed", "job/bad", "--timeout=30s")
    phases = {each["status"]["phase"] for each in space.pods("job-name=good")}
    assert phases == {"Succeeded"}
    ended = space.pods("job-name=bad")[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert space.kubectl("logs", "job/good") == "done\n"


def test_a_rollout_replaces_every_pod_without_a_gap(space: Space, web: list[Program]) -> None:
    front = Program(cluster_ip(space, WEB), 8080)
    space.kubectl("set", "env", "deployment/web", "REVISION=2")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=40s")
    wait_for(lambda: len(space.pods("app=web")) == 3, "old pods stayed")
    assert front.ask("who")["environment"]["REVISION"] == "2"
    assert not {each.address for each in web} & {each["status"]["podIP"] for each in space.pods("app=web")}


def test_a_node_may_have_labels_and_devices_which_the_scheduler_gives_out(nodes: Nodes, space: Space) -> None:
    devices = {"nvidia.com/gpu": "1"}
    wanting = program(resources={"limits": devices})

    def held_up() -> bool:
        conditions = space.get("pod", "second")["status"].get("conditions", [])
        return any("Insufficient nvidia.com/gpu" in each.get("message", "") for each in conditions)

    with nodes.one_more(NodeSpec(name="node-gpu", labels={"gpu": "a100"}, resources=devices)):
        space.apply(pod("first", wanting, nodeSelector={"gpu": "a100"}))
        assert space.ready("first").answers()
        space.apply(pod("second", wanting))
        wait_for(held_up, "two pods got one device")


def test_a_process_that_is_killed_from_outside_is_started_again(nodes: Nodes, space: Space) -> None:
    space.apply(pod("target", program()))
    space.ready("target")
    os.kill(nodes.processes(space.get("pod", "target"))[0], signal.SIGKILL)
    wait_for(lambda: restarts(space, "target") == 1, "it was not started again")


def test_a_node_that_is_killed_takes_its_pods_with_it_and_runs_them_again_when_it_is_back(
    cluster: ControlPlane, nodes: Nodes, space: Space
) -> None:
    space.apply(pod("bound", program(), nodeName="node-2"))
    before = space.ready("bound")
    nodes["node-2"].kill()
    wait_for(lambda: not before.answers(), "a process outlived its node")
    assert cluster.kubectl("get", "node", "node-2", "-oname")
    nodes["node-2"].start()
    wait_for(lambda: restarts(space, "bound") == 1, "the pod was not run again")
    assert space.ready("bound").answers()


def restarts(space: Space, name: str) -> int:
    statuses = space.get("pod", name)["status"].get("containerStatuses") or [{}]
    return int(statuses[0].get("restartCount", 0))
