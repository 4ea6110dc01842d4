from typing import NamedTuple

import pytest

from argosy.api.kubernetes import ContainerStatus
from argosy.edge.processes.ends import End, restarts
from argosy.edge.processes.pod_status import phase, readiness
from argosy.edge.processes.process import Exit

NOT_STARTED = End(exit=None, verdict="the disk is full")


@pytest.mark.parametrize(
    ("policy", "end", "again"),
    [
        ("Always", End(exit=Exit(0)), True),
        ("OnFailure", End(exit=Exit(0)), False),
        ("OnFailure", End(exit=Exit(1)), True),
        ("OnFailure", End(exit=Exit(-9)), True),
        ("OnFailure", NOT_STARTED, True),
        ("Never", End(exit=Exit(1)), False),
    ],
)
def test_the_policy_and_the_exit_decide_whether_it_is_started_again(policy: str, end: End, again: object) -> None:
    assert restarts(policy, end) == again


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (End(exit=Exit(3)), "exit code 3"),
        (End(exit=Exit(3), words="no weights"), "exit code 3; its last words: no weights"),
        (
            End(exit=Exit(-15), verdict="liveness probe failed: x"),
            "liveness probe failed: x; then killed by signal 15 (SIGTERM)",
        ),
        (End(exit=Exit(1), full_disk="/a.log"), "exit code 1; the disk of /a.log is full"),
        (NOT_STARTED, "the disk is full"),
    ],
)
def test_an_end_is_one_sentence(end: End, sentence: str) -> None:
    assert end.sentence == sentence


class Told(NamedTuple):
    status: ContainerStatus
    finished: bool = False
    succeeded: bool = False


def told(state: str, *, ran_before: bool = False, **fields: bool) -> Told:
    last = {"terminated": {}} if ran_before else {}
    return Told(ContainerStatus(name="c", ready=False, restart_count=0, state={state: {}}, last_state=last), **fields)


WAITS, RUNS = told("waiting"), told("running")
DONE, FAILED = told("terminated", finished=True, succeeded=True), told("terminated", finished=True)


@pytest.mark.parametrize(
    ("inits", "containers", "expected"),
    [
        ([], [WAITS], "Pending"),
        ([], [RUNS, WAITS], "Pending"),
        ([], [RUNS], "Running"),
        ([], [RUNS, told("waiting", ran_before=True)], "Running"),
        ([], [RUNS, DONE], "Running"),
        ([], [DONE, DONE], "Succeeded"),
        ([], [DONE, FAILED], "Failed"),
        ([RUNS], [WAITS], "Pending"),
        ([DONE], [RUNS], "Running"),
        ([FAILED], [WAITS], "Failed"),
    ],
)
def test_the_phase_follows_from_all_containers(inits: list[Told], containers: list[Told], expected: str) -> None:
    assert phase(inits, containers) == expected


def test_a_pod_is_ready_when_all_are_and_says_which_is_not() -> None:
    ready = ContainerStatus(name="a", ready=True, restart_count=0)
    assert readiness([(ready, "it runs")]) == (True, "all containers are ready")
    assert readiness([(ready, "it runs"), (WAITS.status, "it waits")]) == (False, "container c: it waits")
