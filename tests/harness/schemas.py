"""OpenAPI schemas of CRDs as JSON schemas that refuse unknown fields, as an API server does when told to be strict."""

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

CRDS = Path(__file__).parents[2] / "src" / "argosy" / "third_party" / "crds"
KUBERNETES = "1.37"


def strict(schema: Any) -> Any:
    """Give the schema with `x-kubernetes-…` made plain: int-or-string, and no fields but those named."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(item) for name, item in schema.items() if not name.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    named = isinstance(schema.get("properties"), dict) and "type" in schema
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


def validator(schema: dict[str, Any]) -> jsonschema.Draft4Validator:
    """Give a validator of an `openAPIV3Schema`."""
    return jsonschema.Draft4Validator(strict(schema))


@cache
def published() -> dict[tuple[str, str], jsonschema.Draft4Validator]:
    """Give the validators of the published CRDs, by apiVersion and kind."""
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        crd = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
        group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
        for version in crd["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            found[f"{group}/{version['name']}", kind] = validator(schema)
    return found


def check_object(plain: dict[str, Any]) -> None:
    """Check an object against Kubernetes' own schemas or a published CRD. Raises what the validators raise."""
    known = published().get((plain["apiVersion"], plain["kind"]))
    if known is None:
        kubernetes_validate.validate(plain, KUBERNETES, strict=True)
    else:
        known.validate(plain)
