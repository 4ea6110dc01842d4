"""What planning needs to know of weights, read from the files on this machine."""

from argosy.base.errors import UserError
from argosy.decide.planning.capabilities import Weights
from argosy.edge.weights.gguf import read_gguf
from argosy.edge.weights.source import find_weights


def look_at(source: str) -> Weights:
    """Check the weights at a source and say what is known of them. Raises UserError."""
    gguf = read_gguf(find_weights(source))
    return Weights(
        size_bytes=gguf.size_bytes,
        kv_bytes_per_token=gguf.kv_bytes_per_token,
        context_tokens=gguf.context_tokens,
        quantization=gguf.quantization,
    )


class KnownWeights:
    """What is known of weights, by source; each source is read once, and again only while it cannot be read."""

    def __init__(self) -> None:
        self._found: dict[str, Weights] = {}

    def of(self, sources: frozenset[str]) -> dict[str, Weights]:
        """Give what is known of the sources; those that cannot be read are left out, since the engine says why."""
        for source in sources - self._found.keys():
            try:
                self._found[source] = look_at(source)
            except UserError:
                continue
        return {source: self._found[source] for source in sources if source in self._found}
