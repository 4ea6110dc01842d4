"""What planning needs to know of weights, read from the files on this machine."""

from argosy.base.errors import UserError
from argosy.decide.planning.capabilities import Weights
from argosy.edge.weights.folder import read_folder
from argosy.edge.weights.gguf import Gguf, read_gguf
from argosy.edge.weights.source import find_weights, read_adapter, read_weights


def look_at(source: str, *, folder: bool = False, adapter: bool = False) -> Weights:
    """Check the weights at a source and say what is known of them: a GGUF file of a model or an adapter, or a folder.

    Raises UserError.
    """
    if folder:
        held = read_folder(find_weights(source))
        return Weights(
            size_bytes=held.size_bytes, kv_bytes_per_token=held.kv_bytes_per_token, context_tokens=held.context_tokens
        )
    return _described(read_adapter(source) if adapter else read_weights(source))


def _described(gguf: Gguf) -> Weights:
    return Weights(
        size_bytes=gguf.size_bytes,
        kv_bytes_per_token=gguf.kv_bytes_per_token,
        context_tokens=gguf.context_tokens,
        quantization=gguf.quantization,
    )


class KnownWeights:
    """What is known of weights, by source; a file is read once, and again when it has been replaced."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[tuple[int, int], Weights]] = {}

    def of(self, sources: frozenset[str]) -> dict[str, Weights]:
        """Give what is known of the sources; those that cannot be read are left out, since the engine says why."""
        found: dict[str, Weights] = {}
        for source in sources:
            try:
                path = find_weights(source)
                file = path.stat()
                version = (file.st_mtime_ns, file.st_size)
                if self._found.get(source, (None,))[0] != version:
                    seen = look_at(source, folder=True) if path.is_dir() else _described(read_gguf(path))
                    self._found[source] = (version, seen)
            except (UserError, OSError):
                continue
            found[source] = self._found[source][1]
        return found
