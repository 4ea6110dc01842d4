import json
from pathlib import Path
from typing import Any

import pytest

from argosy.base.errors import UserError
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import settings_in_cluster, settings_of_kubeconfig

CLUSTER = {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}}
CONTEXTS = [{"name": name, "context": {"cluster": "c", "user": ""}} for name in ("first", "second")]


def kubeconfig(folder: Path, **changed: Any) -> Path:
    content = {"current-context": "first", "clusters": [CLUSTER], "contexts": CONTEXTS, "users": []} | changed
    path = folder / "config"
    path.write_text(json.dumps(content))
    return path


def test_the_current_context_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path)
    assert settings_of_kubeconfig(path).config.context_name == "first"
    assert settings_of_kubeconfig(path, context="second").config.context_name == "second"


@pytest.mark.parametrize(
    "changed",
    [
        {"current-context": None},
        {"current-context": "third"},
        {"clusters": []},
        {"clusters": [{"name": "c", "cluster": {"server": 1}}]},
        {"contexts": 1},
    ],
    ids=["no-context", "unknown-context", "unknown-cluster", "server-is-a-number", "contexts-are-a-number"],
)
def test_a_bad_kubeconfig_is_named(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = kubeconfig(tmp_path, **changed)
    with pytest.raises(UserError, match=f"kubeconfig {path}"):
        settings_of_kubeconfig(path)


@pytest.mark.parametrize("content", [None, "{", ""], ids=["missing", "no-yaml", "empty"])
def test_a_kubeconfig_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"kubeconfig {path}"):
        settings_of_kubeconfig(path)


def test_a_certificate_that_is_not_there_is_named_with_its_server(tmp_path: Path) -> None:
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "missing.crt"}}
    settings = settings_of_kubeconfig(kubeconfig(tmp_path, clusters=[cluster]))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1"):
        KubernetesStore(settings)


def test_a_pod_without_its_token_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="automountServiceAccountToken"):
        settings_in_cluster(host="10.96.0.1", port="443", account=tmp_path)


def test_a_pods_settings_name_an_ipv6_server_in_brackets(tmp_path: Path) -> None:
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("x")
    settings = settings_in_cluster(host="fd00::1", port="443", account=tmp_path)
    assert settings.config.cluster.server == "https://[fd00::1]:443"
