"""Our kinds, and those of the Gateway API and the Inference Extension, at a control plane."""

from pathlib import Path

import yaml

from argosy.api.crd import crd
from harness.control_plane import ControlPlane

PUBLISHED = Path(__file__).resolve().parents[2] / "src" / "argosy" / "third_party" / "crds"


def install_kinds(cluster: ControlPlane) -> None:
    """Have the API server serve them."""
    for path in sorted(PUBLISHED.glob("*.yaml")):
        cluster.kubectl("apply", "--server-side", "-f", str(path))
    cluster.kubectl("apply", "--server-side", "--field-manager=argosy", "-f", "-", stdin=yaml.safe_dump(crd()))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
