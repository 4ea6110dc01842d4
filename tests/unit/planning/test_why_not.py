"""Why a service does not serve: the first thing that is wrong on the way, and what to do."""

from typing import Any

import pytest
from msgspec.structs import replace

from argosy.api.coordination import Event, ObjectReference
from argosy.api.kubernetes import (
    ContainerStatus,
    Pod,
)
from argosy.api.objects import Key
from argosy.decide.planning.pod_troubles import Told
from argosy.decide.planning.way_troubles import Way
from argosy.decide.planning.why_not import Answer, Evidence, Verdict, nothing_named, why_not
from harness.evidence import (
    META,
    PROGRAMMED,
    SPEC,
    WAY,
    component,
    gateway,
    made,
    pod,
    pool,
    route,
    said,
    served,
)
from harness.specs import service


def verdict(**changed: Any) -> Verdict:
    """Of a service that serves, unless something of the evidence is changed."""
    way = {key: changed.pop(key) for key in tuple(changed) if key in Way.__struct_fields__}
    fields = {"name": "m", "service": served(), "deployments": (made(),), "pods": (pod(),), "way": replace(WAY, **way)}
    return why_not(Evidence(**{**fields, **changed}))


def fix_of(found: Verdict) -> str:
    return next((each.fix for each in found.findings if each.state == "wrong"), "")


def test_what_serves_says_so_with_its_evidence() -> None:
    found = verdict()
    assert found.serves
    assert found.sentence == "m serves: 1 of 1 pods is ready, and all that leads to them is in force."
    assert {each.state for each in found.findings} == {"right"}
    asked = verdict(answer=Answer(status=200, seconds=0.42, way="http://x/v1"), pods=(pod(), pod("m-1")))
    assert asked.sentence == "m serves: a token came in 0.4 s by http://x/v1; 2 of 2 pods are ready."


OLDER = served(name="older", creation_timestamp="2025")
YOUNGER = served(name="younger", creation_timestamp="2027")


@pytest.mark.parametrize(
    ("changed", "says", "fix"),
    [
        ({"service": service()}, "Nobody has looked at it yet", "argosy logs operator"),
        ({"service": served(said("Available"))}, "Nobody has looked at it yet", "operator"),
        (
            {"service": served(said("Planned", "False", "Invalid", "min is above max."))},
            "It cannot be planned: min is above max.",
            "correct the file",
        ),
        (
            {
                "service": served(said("Planned", "False", "ForeignObject", "Deployment default/m is there already.")),
                "deployments": (made(replicas=0),),
            },
            "It cannot be planned: Deployment default/m is there already.",
            "correct the file",
        ),
        (
            {"service": served(creation_timestamp="2026"), "rivals": (YOUNGER, OLDER)},
            'The model name "m" belongs to the older service default/older.',
            "spec.model.name",
        ),
        ({"deployments": ()}, "Its Deployment has not been made.", "argosy logs operator"),
        ({"deployments": (made(replicas=0),), "pods": ()}, "It has no replicas, as asked.", "raise"),
        (
            {"deployments": (made(conditions=(said("ReplicaFailure", message="exceeded quota: q."),)),), "pods": ()},
            "Its pods may not be made: exceeded quota: q.",
            "quota",
        ),
        ({"pods": ()}, "None of its pods has been made yet.", "kube-controller-manager"),
        ({"pods": (pod(ready=False, leaving=True),)}, "All of its pods are ending.", "wait"),
        ({"pool": None}, "There is no InferencePool for it.", "operator"),
        ({"pool": pool(a="b", c="d")}, "selects none of the pods (by a=b, c=d)", "spec.selector"),
        (
            {"pool": pool(said("ResolvedRefs", "False", message="endpointPickerRef x is not asked"))},
            "InferencePool default/m is not resolved: endpointPickerRef x is not asked.",
            "correct",
        ),
        ({"route": None}, "There is no HTTPRoute for it.", "operator"),
        (
            {"route": route(controller="somebody/else")},
            "has not attached HTTPRoute default/m to argosy-system/argosy yet",
            "argosy logs gateway",
        ),
        ({"route": route(controller="x"), "gateway": None}, "HTTPRoute default/m to the Gateway yet", "parentRefs"),
        (
            {"route": route(said("Accepted", "False", "NotAllowedByListeners", ""))},
            "HTTPRoute default/m is not accepted: NotAllowedByListeners.",
            "correct",
        ),
        ({"gateway": None}, "There is no Gateway for it.", "argosy install"),
        ({"gateway": None, "on_cluster": False}, "There is no Gateway for it.", "argosy up"),
        ({"gateway_class": None}, "is of class argosy, which is not there", "argosy install"),
        (
            {"gateway": gateway(said("Programmed", "Unknown", message="Waiting for controller"))},
            "No controller has looked at Gateway",
            "argosy logs gateway",
        ),
        ({"gateway": gateway()}, "No controller has looked at Gateway", "argosy logs gateway"),
        (
            {"gateway": gateway(said("Programmed", "False", message="no Envoy is connected"))},
            "Gateway argosy-system/argosy is not programmed: no Envoy is connected.",
            "correct",
        ),
        (
            {"gateway": gateway(said("Programmed"), listener=said("Accepted", "False", message="use HTTP"))},
            "Gateway argosy-system/argosy, listener http is not accepted: use HTTP.",
            "correct",
        ),
        ({"system": ()}, "No envoy runs, so no request is taken.", "argosy logs gateway; argosy install"),
        (
            {"system": (component("envoy", ready=False), component("picker"))},
            "No envoy is ready, so no request is taken: argosy-envoy is waiting to start.",
            "argosy logs envoy",
        ),
        (
            {"answer": Answer(status=503, text="no replica", way="w")},
            "Asked for a token by w, the answer was 503: no replica.",
            "picker",
        ),
        ({"answer": Answer(status=500, way="w")}, "the answer was 500", "argosy logs SERVICE"),
    ],
)
def test_the_first_thing_that_is_wrong_is_the_reason(changed: dict[str, Any], says: str, fix: str) -> None:
    found = verdict(**changed)
    assert not found.serves
    assert found.sentence.startswith("m does not serve: ")
    assert says in found.sentence
    assert fix in fix_of(found)


def event(message: str, reason: str = "FailedMount", type_: str = "Warning") -> Event:
    return Event(
        metadata=META,
        involved_object=ObjectReference(api_version="v1", kind="Pod", name="m-0"),
        reason=reason,
        message=message,
        type=type_,
    )


UNHEALTHY = event("Readiness probe failed: 503.", "Unhealthy")
WAITING: dict[str, Any] = {"ready": False, "node": None, "bare": True, "phase": "Pending"}


def unscheduled(message: str, reason: str = "Unschedulable") -> Pod:
    return pod(**WAITING, conditions=(said("PodScheduled", "False", reason, message),))


def ended(code: int = 1, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **more}}


def crashed(code: int = 1, restarts: int = 2, **more: Any) -> Pod:
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    return pod(ready=False, state=state, last_state=ended(code, **more), restart_count=restarts)


def waiting(reason: str | None, message: str | None = None, **more: Any) -> Pod:
    return pod(ready=False, state={"waiting": {"reason": reason, "message": message}}, **more)


@pytest.mark.parametrize(
    ("found", "told", "says", "fix"),
    [
        (
            pod(**{**WAITING, "phase": "Failed"}, message="Evicted: low on memory."),
            Told(),
            "has failed: Evicted",
            "desc",
        ),
        (pod(**{**WAITING, "phase": "Failed"}), Told(), "has failed: it ended.", "kubectl"),
        (pod(**WAITING, conditions=()), Told(), "No scheduler has looked at pod m-0 yet.", "kube-scheduler"),
        (pod(**WAITING, conditions=(said("PodScheduled"),)), Told(), "No scheduler has looked", "kube-scheduler"),
        (
            unscheduled("0/3 nodes are available: 3 Insufficient cpu, 1 Insufficient memory."),
            Told(),
            "Pod m-0 fits on no node: 0/3 nodes are available: 3 Insufficient cpu, 1 Insufficient memory.",
            "ask for less with spec.workers.*.hardware.cpu and spec.workers.*.hardware.memory, or add a node",
        ),
        (unscheduled("1 Insufficient nvidia.com/gpu."), Told(), "nvidia.com/gpu", "add a node that has nvidia.com/gpu"),
        (unscheduled("1 node(s) had untolerated taint {a: b}."), Told(), "taint", "take the taint"),
        (unscheduled("1 node(s) didn't match Pod's node affinity/selector."), Told(), "affinity", "label a node"),
        (unscheduled("strange"), Told(), "strange", "kubectl describe nodes"),
        (unscheduled("waits", "SchedulingGated"), Told(), "waits in a queue for quota", "workloads"),
        (
            waiting("ImagePullBackOff", "Back-off pulling image."),
            Told(),
            "cannot get image argosy/engine:1: Back-off pulling image.",
            "registry",
        ),
        (waiting("ErrImagePull"), Told(), "cannot get image argosy/engine:1: ErrImagePull.", "registry"),
        (
            waiting("CreateContainerConfigError", "no secret s"),
            Told(),
            "CreateContainerConfigError: no secret s",
            "desc",
        ),
        (
            crashed(3, message="cannot bind\n127.0.0.1."),
            Told(),
            "ends with exit code 3, 2 restarts so far: cannot bind 127.0.0.1.",
            "argosy logs m-0 --previous",
        ),
        (crashed(1), Told(last_words="no such file\n"), "exit code 1, 2 restarts so far: no such file.", "logs"),
        (crashed(1, restarts=0), Told(), "ends with exit code 1.", "logs"),
        (
            crashed(137, reason="OOMKilled"),
            Told(),
            "took more memory than its limit of 1Gi, 2 restarts so far.",
            "raise spec.workers.*.hardware.memory",
        ),
        (
            pod(ready=False, state={"running": {}}, started=False, last_state=ended(137, reason="OOMKilled")),
            Told(),
            "took more memory than its limit of 1Gi.",
            "raise",
        ),
        (
            crashed(137),
            Told(events=(event("Liveness probe failed: timeout", "Unhealthy"),)),
            "did not answer in time: Liveness probe failed: timeout, 2 restarts",
            "--previous",
        ),
        (crashed(137), Told(), "ends with exit code 137", "--previous"),
        (pod(ready=False, state=ended(2)), Told(), "ends with exit code 2.", "--previous"),
        (
            pod(ready=False, state={"running": {}}, started=True),
            Told(events=(event("old", "Unhealthy"), UNHEALTHY)),
            "does not answer its readiness probe: Readiness probe failed: 503.",
            "argosy logs m-0",
        ),
        (pod(ready=False, state={"running": {}}, started=True), Told(), "does not answer its readiness probe.", "logs"),
    ],
)
def test_a_pod_that_is_not_ready_says_why_and_what_to_do(found: Pod, told: Told, says: str, fix: str) -> None:
    shown = verdict(pods=(found,), told={"m-0": told})
    assert not shown.serves
    assert says in shown.sentence
    assert fix in fix_of(shown)


@pytest.mark.parametrize(
    ("found", "told", "says"),
    [
        (waiting("ContainerCreating"), Told(events=(event("no volume"),)), "Pod m-0 is being set up: no volume."),
        (waiting(None), Told(events=(event("made", "Pulled", "Normal"),)), "Pod m-0 is being set up."),
        (pod(ready=False, bare=True), Told(), "Pod m-0 has not begun to start."),
        (pod(ready=False, bare=True, message="no address"), Told(), "Pod m-0 has not begun to start: no address."),
        (pod(ready=False, state={"running": {}}, started=False), Told(), "Pod m-0 is loading: it runs"),
    ],
)
def test_a_pod_that_only_starts_is_waited_for(found: Pod, told: Told, says: str) -> None:
    shown = verdict(pods=(found,), told={"m-0": told})
    assert not shown.serves
    assert says in shown.sentence
    assert fix_of(shown) == ""


def test_init_containers_that_have_ended_well_are_passed_over_and_others_are_not() -> None:
    done = ContainerStatus(name="init", ready=True, restart_count=0, state=ended(0))
    assert "readiness" in verdict(pods=(pod(ready=False, inits=(done,), state={"running": {}}, started=True),)).sentence
    broken = replace(done, ready=False, state=ended(4))
    assert "exit code 4" in verdict(pods=(pod(ready=False, inits=(broken,)),)).sentence
    side = replace(done, state={"running": {}})
    assert "readiness" in verdict(pods=(pod(ready=False, inits=(side,), state={"running": {}}, started=True),)).sentence
    unknown = replace(done, name="other", ready=False, state=ended(137, reason="OOMKilled"))
    assert "more memory than its limit." in verdict(pods=(pod(ready=False, inits=(unknown,)),)).sentence


def test_while_one_pod_is_ready_the_troubles_of_others_are_no_reason() -> None:
    shown = verdict(pods=(pod(), replace(crashed(), metadata=replace(META, name="m-1"))))
    assert shown.serves
    assert shown.sentence.startswith("m serves: 1 of 2 pods is ready")
    assert [each.sentence for each in shown.findings if each.state == "unclear"] == [
        "Pod m-1 ends with exit code 1, 2 restarts so far."
    ]


def test_what_is_not_known_makes_nothing_wrong() -> None:
    shown = verdict(
        service=served(generation=2),
        system=None,
        unseen=("pods may not be read.",),
        answer=Answer(status=0, text="refused", way="w"),
        gateway=gateway(said("Programmed"), address=""),
    )
    assert shown.serves
    assert [each.sentence for each in shown.findings if each.state == "unclear"] == [
        "Its last change has not been looked at yet.",
        "Asked for a token by w, no answer came: refused.",
        "Not known: pods may not be read.",
    ]
    assert any("without an address yet" in each.sentence for each in shown.findings)
    planned = served(said("Planned", "False", "Waiting"))
    assert verdict(service=planned).serves


def test_pickers_that_are_away_do_not_keep_a_service_from_serving() -> None:
    shown = verdict(system=(component("envoy"), component("envoy"), component("operator")))
    assert shown.serves
    assert "2 of 2 envoy pods are ready." in [each.sentence for each in shown.findings]
    assert "No picker runs" in next(each.sentence for each in shown.findings if each.state == "unclear")


def test_an_operator_that_is_away_is_said_where_there_should_be_one() -> None:
    away = (component("envoy"), component("picker"))
    shown = verdict(system=away)
    assert shown.serves
    said_so = [each.sentence for each in shown.findings if each.state == "unclear"]
    assert said_so == ["No operator runs, so no change of a service is taken up."]
    assert not [each for each in verdict(system=away, on_cluster=False).findings if each.state == "unclear"]


def test_a_class_of_somebody_elses_name_is_not_looked_for() -> None:
    other = replace(PROGRAMMED, spec=replace(SPEC, gateway_class_name="theirs"))
    assert verdict(gateway=other, gateway_class=None).serves


def test_what_stands_in_the_place_of_an_object_is_not_judged_as_the_services_own() -> None:
    planned = said("Planned", "False", "ForeignObject", "Deployment default/m is there already.")
    found = verdict(service=served(planned), deployments=(made(replicas=0),), pods=())
    assert not any("replicas" in each.sentence for each in found.findings)


def test_a_pool_of_somebody_elses_pods_is_walked_without_a_service() -> None:
    assert verdict(service=None, deployments=()).serves
    empty = verdict(service=None, deployments=(), pods=())
    assert empty.sentence == "m does not serve: No pod of it is ready."


def test_a_name_that_nothing_has_is_met_with_those_that_are_there() -> None:
    found = nothing_named("smol", ["a", "smoll", "a"], ["smoll"])
    assert found.sentence == "smol is not known. Did you mean smoll? There are: a, smoll."
    assert nothing_named("m", [], []).sentence == "m is not known. There is no service at all."
    assert not found.serves
    assert Key("a", "b") != found
