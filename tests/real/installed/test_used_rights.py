"""Each part runs under exactly its own rights: from installing to removing nothing is refused, and little unused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.api.inference import InferenceModelRewrite, OlderInferenceModelRewrite
from argosy.decide.planning.access import RIGHTS
from harness.audit import Request, requests
from harness.control_plane import ControlPlane
from harness.kinds import install_rewrites
from harness.nodes import Nodes
from harness.user import User
from harness.waiting import until

NAMESPACE = "rights"
GATEWAY: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "theirs"},
    "spec": {"gatewayClassName": "argosy", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
}
POOL: dict[str, Any] = {
    "apiVersion": "inference.networking.k8s.io/v1",
    "kind": "InferencePool",
    "metadata": {"name": "theirs"},
    "spec": {
        "selector": {"matchLabels": {"app": "theirs"}},
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"name": "argosy-picker", "port": {"number": 9002}},
    },
}
SELDOM = {
    "operator": {
        # A fault of others, or a race, makes it needed.
        *(("delete", group, kind) for group, kind in (("apps", "deployments"), ("", "serviceaccounts"))),
        ("delete", "inference.networking.k8s.io", "inferencepools"),
        ("delete", "gateway.networking.k8s.io", "httproutes"),
        ("delete", "networking.k8s.io", "networkpolicies"),
        ("patch", "", "events"),
    },
    "gateway": {
        ("delete", "", "services"),
        ("delete", "", "serviceaccounts"),
        ("delete", "apps", "deployments"),
        ("delete", "policy", "poddisruptionbudgets"),
        ("patch", "gateway.networking.k8s.io", "httproutes/status"),
    },
    "picker": set(),
}
"""What a component may do and need not have done in a day like this one."""


def granted(component: str) -> set[tuple[str, str, str]]:
    rules = (*RIGHTS[component].everywhere, *RIGHTS[component].at_home)
    return {
        (verb, group, resource)
        for rule in rules
        for group in rule.api_groups
        for resource in rule.resources
        for verb in rule.verbs
    }


@pytest.fixture
async def day(cluster: ControlPlane, nodes: Nodes, tmp_path: Path) -> AsyncIterator[list[Request]]:
    """All requests of a day: installed, served, scaled, adopted, given up, removed."""
    assert nodes
    cluster.kubectl("create", "namespace", NAMESPACE)
    user = User(cluster, NAMESPACE, tmp_path)
    install_rewrites(cluster, InferenceModelRewrite, OlderInferenceModelRewrite)
    installed = await user.argosy("install", namespace=False)
    assert installed.code == 0, installed
    theirs = yaml.safe_dump_all([GATEWAY, POOL])
    await user.kubectl("apply", "--filename=-", stdin=theirs)
    for change in ({}, {"replicas: 1": "replicas: 2"}, {"replicas: 1": "replicas: 1"}):
        applied = await user.argosy("apply", "-f", user.file(**change), "--wait")
        assert applied.code == 0, applied
    await until(lambda: reaches_the_pickers(user), within_s=60)
    await user.kubectl("delete", "--filename=-", stdin=theirs)
    await until(lambda: leads_nowhere(user), within_s=60)
    removed = await user.argosy("uninstall", "--with-services", namespace=False)
    assert removed.code == 0, removed
    yield list(requests(cluster.audit_log))
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


async def reaches_the_pickers(user: User) -> bool:
    return "argosy-picker" in await user.kubectl("get", "services,endpointslices", "--output=name")


async def leads_nowhere(user: User) -> bool:
    return "argosy-picker" not in await user.kubectl("get", "services,endpointslices", "--output=name")


@pytest.mark.timeout(600)
async def test_every_part_has_the_rights_that_it_uses_and_no_more(day: list[Request]) -> None:
    refused = {(each.account, *each.right, each.namespace, each.name) for each in day if each.code in (401, 403)}
    assert not refused
    unused = {}
    for component, rights in RIGHTS.items():
        assert rights
        used = {right for each in day if each.account == f"argosy-{component}" for right in each.rights}
        assert used, f"{component} has asked for nothing under its own account"
        unused[component] = granted(component) - used - SELDOM[component]
    assert not any(unused.values()), unused
