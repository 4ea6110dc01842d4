"""The published CRDs of the Gateway API and the Inference Extension, as this package carries them."""

from importlib.resources import files
from typing import Any

import yaml

from argosy.api.extensions import CustomResourceDefinition
from argosy.api.objects import decode

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def published_definitions() -> tuple[CustomResourceDefinition, ...]:
    """Give them in order of name; reading takes most of a second."""
    folder = files("argosy") / "third_party" / "crds"
    texts = [file.read_text() for file in folder.iterdir() if file.name.endswith(".yaml")]
    return tuple(sorted((_definition(text) for text in texts), key=lambda definition: definition.key))


def _definition(text: str) -> CustomResourceDefinition:
    raw = yaml.load(text, Loader=_LOADER)  # noqa: S506 (safe)
    raw.pop("status", None)  # a generator's
    return decode(CustomResourceDefinition, raw)
