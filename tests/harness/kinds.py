"""Our kinds, those of the Gateway API and the Inference Extension, and llm-d's, at a control plane."""

import json
from pathlib import Path
from typing import Any

import yaml

from argosy.api.crd import crd
from argosy.api.inference import InferenceModelRewrite
from harness.control_plane import ControlPlane

PUBLISHED = Path(__file__).resolve().parents[2] / "src" / "argosy" / "third_party" / "crds"


def install_kinds(cluster: ControlPlane) -> None:
    """Have the API server serve them."""
    for path in sorted(PUBLISHED.glob("*.yaml")):
        cluster.kubectl("apply", "--server-side", "-f", str(path))
    cluster.kubectl("apply", "--server-side", "--field-manager=argosy", "-f", "-", stdin=yaml.safe_dump(crd()))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


def rewrite_definition(kind: type[InferenceModelRewrite]) -> dict[str, Any]:
    """Give the definition of a rewrite of models, of which the real one is llm-d's own."""
    group, _, version = kind.API_VERSION.partition("/")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind.KIND, "plural": kind.PLURAL, "singular": kind.KIND.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def install_rewrites(cluster: ControlPlane, *kinds: type[InferenceModelRewrite]) -> None:
    """Have the API server serve rewrites of models."""
    for kind in kinds:
        definition = rewrite_definition(kind)
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(definition))
        name = definition["metadata"]["name"]
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")


def remove_rewrites(cluster: ControlPlane, *kinds: type[InferenceModelRewrite]) -> None:
    """Have the API server serve them no more."""
    for kind in kinds:
        cluster.kubectl("delete", f"crd/{rewrite_definition(kind)['metadata']['name']}", "--ignore-not-found")
