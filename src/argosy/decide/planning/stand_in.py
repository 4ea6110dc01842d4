"""One stand-in: what a file asks for and what is given instead, in words."""

from typing import Any

import msgspec

from argosy.api.llmservice import StandIn


def stand_in(field: str, asked: Any, given: str, why: str) -> list[StandIn]:
    """Give the stand-in for a field below `spec`."""
    return [StandIn(field=f"spec.{field}", asked=words(asked), given=given, why=why)]


def words(value: Any) -> str:
    """Give a value as people write it in YAML, on one line."""
    return _flow(msgspec.to_builtins(value))


def _flow(plain: Any) -> str:
    if isinstance(plain, dict):
        return "{" + ", ".join(f"{name}: {_flow(item)}" for name, item in plain.items()) + "}"
    if isinstance(plain, list | tuple):
        return "[" + ", ".join(_flow(item) for item in plain) + "]"
    return str(plain).lower() if isinstance(plain, bool) else str(plain)
