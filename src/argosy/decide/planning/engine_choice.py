"""LLMService and capabilities → the engine that serves it, and what that engine reads: weights and adapters.

Rules of this file:

- The engine that is asked for serves, unless it is not there or cannot read the weights; then llama.cpp does.
- llama.cpp reads what it can, and else the embedded weights.
- An adapter stays where the engine reads it, and the model that it was made for serves.
"""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from argosy.api.llmservice import Adapter, LLMServiceSpec, StandIn
from argosy.api.vllm_options import VLLMOptions
from argosy.decide.planning.capabilities import ENGINES, Capabilities
from argosy.decide.planning.stand_in import stand_in
from argosy.engines import llama_cpp, vllm

HUB: Final = "hf://"
MAX_ADAPTERS: Final = 56
"""Each is a name that a rule of an HTTPRoute matches, of 64; some are left for the model, and for names of before."""


def chosen(spec: LLMServiceSpec, capabilities: Capabilities) -> tuple[LLMServiceSpec, list[StandIn]]:
    """Give the spec with an engine that runs there, and a source and adapters that this one reads."""
    asked, found = spec, list[StandIn]()
    why = _why_not(spec, capabilities)
    if why:
        spec = replace(spec, engine=replace(spec.engine, name=llama_cpp.NAME))
        found += stand_in("engine.name", asked.engine.name, llama_cpp.NAME, why)
    if spec.engine.name == vllm.NAME:
        spec, more = _adapters(spec, lambda source: _unread(source, capabilities))
        return spec, found + more
    if spec.engine.vllm != VLLMOptions():
        found += stand_in("engine.vllm", spec.engine.vllm, "unused", f"{llama_cpp.NAME} serves")
    spec, more = _source(spec, asked.engine.name)
    found += more
    other = f"it is made for {asked.model.source}" if spec.model.source != asked.model.source else ""
    spec, more = _adapters(spec, lambda source: other or _unread_by_llama_cpp(source, is_folder=not _is_gguf(source)))
    return spec, found + more


def _why_not(spec: LLMServiceSpec, capabilities: Capabilities) -> str:
    """Say why the engine that is asked for cannot serve; nothing where it can."""
    name, source = spec.engine.name, spec.model.source
    if name not in ENGINES:
        return f"this version runs {' and '.join(sorted(ENGINES))} only"
    if name not in capabilities.engines:
        return f"{name} is not installed here; argosy up --engine-python names a Python that has it"
    if name == llama_cpp.NAME:
        return ""
    return _unread(source, capabilities)


def _unread(source: str, capabilities: Capabilities) -> str:
    """Say why vLLM cannot read a source; nothing where it can."""
    scheme = source.partition("://")[0]
    if scheme == "pypi" or source.endswith(vllm.GGUF_SUFFIX):
        return f"{vllm.NAME} reads no GGUF files"
    if scheme not in vllm.WEIGHT_SCHEMES:
        return f"this version has {vllm.NAME} read hf:// and file:// only"
    if source.startswith(HUB) and capabilities.hub is not None and source not in capabilities.hub:
        return f"{source.removeprefix(HUB)} is not in this machine's Hugging Face cache, and nothing is fetched to it"
    return ""


def _unread_by_llama_cpp(source: str, *, is_folder: bool) -> str:
    """Say why llama.cpp cannot read a source; nothing where it can."""
    scheme = source.partition("://")[0]
    if scheme not in llama_cpp.WEIGHT_SCHEMES:
        readable = " and ".join(f"{scheme}://" for scheme in sorted(llama_cpp.WEIGHT_SCHEMES))
        return f"{llama_cpp.NAME} reads {readable} only"
    return f"{llama_cpp.NAME} reads GGUF files only" if is_folder and scheme == "file" else ""


def _is_gguf(source: str) -> bool:
    return source.endswith(vllm.GGUF_SUFFIX)


def _source(spec: LLMServiceSpec, asked: str) -> tuple[LLMServiceSpec, list[StandIn]]:
    """Give the spec with weights that llama.cpp reads."""
    source, given = spec.model.source, llama_cpp.EMBEDDED_WEIGHTS
    what = _unread_by_llama_cpp(source, is_folder=asked != llama_cpp.NAME and not _is_gguf(source))
    if not what:
        return spec, []
    why = f"{what}; {llama_cpp.EMBEDDED_MODEL} answers instead"
    return replace(spec, model=replace(spec.model, source=given)), stand_in("model.source", source, given, why)


def _adapters(spec: LLMServiceSpec, unread: Callable[[str], str]) -> tuple[LLMServiceSpec, list[StandIn]]:
    """Give the spec with the adapters that its engine reads, no more than one rule of a route has room for."""
    asked = spec.model.adapters
    read = tuple(each for each in asked if not unread(each.source))
    left: tuple[Adapter, ...] = tuple(each for each in asked if each not in read)
    kept, over = read[:MAX_ADAPTERS], read[MAX_ADAPTERS:]
    found: list[StandIn] = []
    if left:
        why = f"{left[0].name}: {unread(left[0].source)}"
        found += stand_in("model.adapters", left, "without them", why)
    if over:
        found += stand_in("model.adapters", over, "without them", f"this version serves {MAX_ADAPTERS} at most")
    return replace(spec, model=replace(spec.model, adapters=kept)), found
