"""How a machine's CPUs are divided among engines."""

import os

import pytest

from argosy.api.kubernetes import Deployment
from argosy.apps.local.node import cpu_limit, cpu_share
from argosy.decide.planning.plan import plan
from harness.specs import service


def deployments(*replicas: int) -> list[Deployment]:
    services = [service({"workers": {"serve": {"replicas": n}}}, name=f"m{i}") for i, n in enumerate(replicas)]
    return [obj for obj in plan(services).objects if isinstance(obj, Deployment)]


@pytest.mark.parametrize(
    ("cpus", "replicas", "share"), [(8, [1], 8), (8, [2, 1], 2), (2, [2, 2], 1), (4, [0], 4), (4, [], 4)]
)
def test_cpus_are_shared_out_among_all_engines(
    monkeypatch: pytest.MonkeyPatch, cpus: int, replicas: list[int], share: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    assert cpu_share(deployments(*replicas)) == share


@pytest.mark.parametrize(("share", "limit"), [(1, 1), (2, 2), (8, 2)])
def test_an_engine_gets_no_more_than_its_limit(share: int, limit: int) -> None:
    template = next(d for d in deployments(1) if d.metadata.name == "m0").spec.template
    assert cpu_limit(template.spec, share) == limit


def test_a_component_without_a_limit_is_given_no_number() -> None:
    gateway = next(d for d in deployments(1) if d.metadata.name == "argosy-gateway")
    assert cpu_limit(gateway.spec.template.spec, 1) == cpu_limit(gateway.spec.template.spec, 8) == 0
