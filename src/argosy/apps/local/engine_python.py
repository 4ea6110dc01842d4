"""A Python of this machine in which vLLM is installed, and what the processes of that one are given."""

from pathlib import Path

import msgspec

ALONE = {
    "PYTHONSAFEPATH": "1",
    "PYTHONPATH": "",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""Of every vLLM of a laptop: nothing of ours is imported, nothing is fetched, nothing is told to anybody."""


class EnginePython(msgspec.Struct, frozen=True, kw_only=True):
    """What serves with vLLM on this machine.

    `path` is the Python, `version` that of its vLLM; `moves_caches` says whether NIXL is there, and `hub` where Hugging
    Face keeps what it has fetched.
    """

    path: str
    version: str
    moves_caches: bool
    hub: str

    def models(self) -> frozenset[str]:
        """Give the models of the hub that are here, as sources."""
        found = Path(self.hub).glob("models--*--*/snapshots/*/config.json")
        names = (file.parents[2].name.removeprefix("models--") for file in found)
        return frozenset(f"hf://{name.replace('--', '/', 1)}" for name in names)

    def environment(self, home: str) -> dict[str, str]:
        """Give the variables of its processes, over those that a container on a cluster has."""
        return {**ALONE, "HOME": home, "HF_HUB_CACHE": self.hub}
