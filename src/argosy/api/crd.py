"""The CustomResourceDefinition of LLMService, made from its types.

Rules of this file:

- The schema is structural (apiextensions.k8s.io/v1): no $ref, and a type everywhere but where a value is a number or
  text (`x-kubernetes-int-or-string`), or a number or a mapping, which no structural schema can say
  (`x-kubernetes-preserve-unknown-fields`; `api.rules` and the types check those).
- Defaults are written for plain values only, so that what a server stores stays as short as what a user wrote.
"""

from typing import Any, Final

from msgspec import NODEFAULT, inspect

from argosy.api.llmservice import GROUP, LLMService
from argosy.api.objects import Condition, Value
from argosy.api.shape import unwrapped

SHORT_NAME: Final = "llm"
_COLUMNS: Final = (
    ("Model", "string", ".status.model", 0),
    ("Ready", "integer", ".status.readyReplicas", 0),
    ("Wanted", "integer", ".status.replicas", 0),
    ("Available", "string", '.status.conditions[?(@.type=="Available")].status', 0),
    ("Progress", "string", '.status.conditions[?(@.type=="Progressing")].reason', 0),
    ("URL", "string", ".status.url", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Engine", "string", ".spec.engine.name", 1),
    ("Status", "string", '.status.conditions[?(@.type=="Available")].message', 1),
)
"""What `kubectl get llm` shows; with 1 only `-o wide`. The sentence is last, since it is as long as it is."""
_REQUIRED_OF_CONDITIONS: Final = ["lastTransitionTime", "message", "reason", "status", "type"]


def crd() -> dict[str, Any]:
    """Give the CustomResourceDefinition as plain values."""
    fields = {field.encode_name: field for field in _struct(LLMService).fields}
    schema = {
        "type": "object",
        "description": " ".join((LLMService.__doc__ or "").split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _schema(fields["spec"].type),
            "status": _schema(fields["status"].type),
        },
    }
    version = {
        "name": LLMService.API_VERSION.rpartition("/")[2],
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path, "priority": priority}
            for name, type_, path, priority in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": schema},
    }
    kind = LLMService.KIND
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": LLMService.PLURAL,
        "singular": kind.lower(),
        "shortNames": [SHORT_NAME],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{LLMService.PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _struct(kind: type[Value]) -> inspect.StructType:
    found = inspect.type_info(kind)
    if not isinstance(found, inspect.StructType):
        raise TypeError(f"{kind} is no struct")
    return found


def _schema(annotated: inspect.Type) -> dict[str, Any]:  # noqa: C901 - one for each type
    kind, description = unwrapped(annotated)
    schema: dict[str, Any] = {"description": description} if description else {}
    match kind:
        case inspect.UnionType():
            schema |= _union([k for k in kind.types if not isinstance(k, inspect.NoneType)], schema)
        case inspect.StructType():
            schema |= _object(kind, schema)
        case inspect.VarTupleType():
            schema |= {"type": "array", "items": _schema(kind.item_type)}
            if kind.max_length is not None:
                schema["maxItems"] = kind.max_length
            if unwrapped(kind.item_type)[0] == _struct(Condition):
                schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        case inspect.DictType():
            schema |= {"type": "object", "additionalProperties": _schema(kind.value_type)}
        case inspect.LiteralType():
            schema |= {"type": "string", "enum": list(kind.values)}
        case inspect.IntType():
            schema |= {"type": "integer", "format": "int64" if kind.le is None else "int32"} | _bounds(kind)
        case inspect.BoolType():
            schema["type"] = "boolean"
        case inspect.StrType():
            schema |= {"type": "string"} | _text(kind)
        case _:
            raise TypeError(f"no schema for {kind}")
    return schema


def _union(annotated: list[inspect.Type], schema: dict[str, Any]) -> dict[str, Any]:
    if len(annotated) == 1:
        return _schema(annotated[0]) | schema
    kinds = [unwrapped(kind)[0] for kind in annotated]
    if any(isinstance(kind, inspect.StructType) for kind in kinds):
        return {"x-kubernetes-preserve-unknown-fields": True}
    merged: dict[str, Any] = {"x-kubernetes-int-or-string": True}
    for kind in kinds:
        match kind:
            case inspect.IntType():
                merged |= _bounds(kind)
            case inspect.LiteralType():
                merged["pattern"] = f"^({'|'.join(str(value) for value in kind.values)})$"
            case inspect.StrType():
                merged |= _text(kind)
            case _:
                raise TypeError(f"no schema for {kind} or another")
    return merged


def _object(struct: inspect.StructType, schema: dict[str, Any]) -> dict[str, Any]:
    properties = {}
    for field in struct.fields:
        prop = properties[field.encode_name] = _schema(field.type)
        ours = struct.cls is Condition and field.name == "reason"  # without it, it is a mistake, and no default helps
        if field.default not in (NODEFAULT, None, ()) and isinstance(field.default, str | int) and not ours:
            prop["default"] = field.default
    doc = " ".join((struct.cls.__doc__ or "").split())
    made: dict[str, Any] = {"type": "object", "description": schema.get("description", doc), "properties": properties}
    required = sorted(field.encode_name for field in struct.fields if field.required)
    if struct.cls is Condition:
        required = _REQUIRED_OF_CONDITIONS
    return made | ({"required": required} if required else {})


def _bounds(kind: inspect.IntType) -> dict[str, int]:
    return {name: bound for name, bound in (("minimum", kind.ge), ("maximum", kind.le)) if bound is not None}


def _text(kind: inspect.StrType) -> dict[str, Any]:
    limits = {"pattern": kind.pattern, "maxLength": kind.max_length, "minLength": kind.min_length}
    return {name: value for name, value in limits.items() if value is not None}
