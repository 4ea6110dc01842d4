"""Makes charts/argosy/ from the objects that `argosy install` writes: `.venv/bin/python scripts/chart.py`.

Rules of this file:

- An object has one source, the planning of the installation. A template is such an object, in which some values are
  replaced by what a person may choose; with the values as they come, the chart gives what `argosy install` gives.
- Where a value goes is said by its path in the object. A path that is not there is an error.
- The same tree gives the same bytes.
"""

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from argosy import __version__
from argosy.api.crd import crd
from argosy.api.kubernetes import Deployment
from argosy.api.names import MANAGED_BY
from argosy.api.objects import Object, encode
from argosy.api.policy import NetworkPolicy
from argosy.decide.planning.components import DECISIONS, DECISIONS_FILE, DECISIONS_MOUNT, OnCluster
from argosy.decide.planning.installation import Installation, installation_objects
from argosy.decide.planning.installing import OLDEST_KUBERNETES

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "charts" / "argosy"
PUBLISHED = ROOT / "src" / "argosy" / "third_party" / "crds"
NOTE = "# Made by scripts/chart.py. Change what it reads, and make it anew."
PLACE = OnCluster()
INSTALLATION = Installation(cluster=PLACE)
COMPONENTS = ("operator", "gateway", "picker")
IMAGE = '{{{{ include "argosy.image" (list . "argosy/{name}") }}}}'

HELPERS = """{{- /* The whole name of an image: registry, name, tag. */ -}}
{{- define "argosy.image" -}}
{{- with (index . 0).Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ index . 1 }}:{{ (index . 0).Chart.AppVersion }}
{{- end -}}
"""
NOTES = """Argosy is installed. Next:

  kubectl get pods --namespace argosy-system      # operator, gateways, pickers, Envoys
  kubectl apply --filename service.yaml           # an LLMService
  kubectl get llm --watch

The Gateway takes requests at port {{ .Values.port }}:

  kubectl get service argosy-envoy --namespace argosy-system
"""


TRACED = """{{- with .Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $.Values.tracing.share | quote }}
{{- end }}"""
WITH_DECISIONS = "{{{{- if .Values.decisions.share }}}}\n{}\n{{{{- end }}}}"
DECISIONS_ARGS = WITH_DECISIONS.format(
    f"- --decisions-file\n- {DECISIONS_FILE}\n- --decisions-sample\n- {{{{ .Values.decisions.share | quote }}}}"
)


def listed(*values: msgspec.Struct) -> str:
    """Give items of a list as lines."""
    return yaml.safe_dump(msgspec.to_builtins(values), sort_keys=False).rstrip()


DECISIONS_MOUNTED = WITH_DECISIONS.format(listed(DECISIONS_MOUNT))
DECISIONS_VOLUME = WITH_DECISIONS.format(listed(DECISIONS))


_BLOCKS = ("{{-", "resources:", "ports:")
"""How lines begin that are not a value in their place."""


class Template:
    """One object as plain values, with marks where the chart puts something else."""

    def __init__(self, obj: Object) -> None:
        self.values: Any = msgspec.json.decode(msgspec.json.encode(encode(obj)))
        self._texts: list[str] = []

    def put(self, text: str, *path: str | int) -> None:
        """Put a template's text in the place of the value at a path."""
        self._holder(path)[path[-1]] = self._mark(text)

    def put_block(self, text: str, *path: str | int) -> None:
        """Put lines of a template, indented as their surroundings, in the place of the member at a path."""
        at = self._holder(path)
        members = [(self._mark(text), None) if name == path[-1] else (name, each) for name, each in at.items()]
        at.clear()
        at.update(members)

    def add_block(self, text: str, *path: str | int) -> None:
        """Add lines of a template to the mapping or list at a path."""
        at = self._at(path)
        if isinstance(at, list):
            at.append(self._mark(text))
        else:
            at[self._mark(text)] = None

    def rendered(self) -> str:
        """Give the template's text."""
        lines: list[str] = []
        for line in yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True, width=1000).splitlines():
            lines.extend(self._line(line))
        return "\n".join(lines) + "\n"

    def _at(self, path: tuple[str | int, ...]) -> Any:
        at = self.values
        for part in path:
            at = at[part]
        return at

    def _holder(self, path: tuple[str | int, ...]) -> Any:
        """Give what holds the value at a path, which must be there."""
        self._at(path)
        return self._at(path[:-1])

    def _mark(self, text: str) -> str:
        self._texts.append(text)
        return f"MARK{len(self._texts) - 1:03}"

    def _line(self, line: str) -> Iterator[str]:
        """Give the lines that a line of YAML becomes; a mark is a member of its own, an item, or within a text."""
        for number, text in enumerate(self._texts):
            mark = f"MARK{number:03}"
            if mark not in line:
                continue
            indent = line[: len(line) - len(line.lstrip())]
            first = line.strip()
            if first == f"- {mark}: null":  # the first member of an item
                yield from (f"{indent}{begin}{each}" for begin, each in zip(_dashed(), text.splitlines(), strict=False))
                return
            if first in (f"{mark}: null", f"- {mark}") and text.startswith(_BLOCKS):
                yield from (f"{indent}{each}".rstrip() for each in text.splitlines())
                return
            line = line.replace(mark, text)
        yield line


def _dashed() -> Iterator[str]:
    yield "- "
    yield from itertools.repeat("  ")


def template(obj: Object) -> Template:
    """Give the template of an object."""
    made = Template(obj)
    made.put("{{ .Release.Service }}", "metadata", "labels", MANAGED_BY)
    if isinstance(obj, Deployment):
        _deployment(made, obj)
    elif isinstance(obj, NetworkPolicy):
        _network_policy(made, obj)
    elif obj.KIND == "Gateway":
        made.put("{{ .Values.port }}", "spec", "listeners", 0, "port")
    return made


def _deployment(made: Template, obj: Deployment) -> None:
    name = obj.metadata.name.removeprefix("argosy-")
    pod = ("spec", "template", "spec")
    container = (*pod, "containers", 0)
    made.put("{{ .Values.replicas }}", "spec", "replicas")
    made.put("{{ .Release.Service }}", "spec", "template", "metadata", "labels", MANAGED_BY)
    made.put(IMAGE.format(name=name), *container, "image")
    arguments = obj.spec.template.spec.containers[0].args
    for option, text in (
        ("--envoy-replicas", "{{ .Values.replicas | quote }}"),
        ("--service-type", "{{ .Values.serviceType }}"),
    ):
        if option in arguments:
            made.put(text, *container, "args", arguments.index(option) + 1)
    if name in ("operator", "gateway"):
        registry = (
            '{{- with .Values.image.registry }}\n- --image-registry\n- {{ trimSuffix "/" . | quote }}\n{{- end }}'
        )
        made.add_block(registry, *container, "args")
    made.put_block(f"resources:\n  {{{{- toYaml .Values.{name}.resources | nindent 10 }}}}", *container, "resources")
    made.add_block("{{- with .Values.image.pullPolicy }}\nimagePullPolicy: {{ . }}\n{{- end }}", *container)
    if name in ("gateway", "picker"):
        made.add_block(TRACED, *container, "env")
    if name == "picker":
        for text, path in ((DECISIONS_ARGS, (*container, "args")), (DECISIONS_MOUNTED, (*container, "volumeMounts"))):
            made.add_block(text, *path)
        made.add_block(DECISIONS_VOLUME, *pod, "volumes")
    for field in ("nodeSelector", "tolerations"):
        made.add_block(
            f"{{{{- with .Values.{field} }}}}\n{field}:\n  {{{{- toYaml . | nindent 8 }}}}\n{{{{- end }}}}", *pod
        )


def _network_policy(made: Template, obj: NetworkPolicy) -> None:
    for index, rule in enumerate(obj.spec.egress):
        if tuple(port.port for port in rule.ports) == PLACE.api_server_ports:
            text = "ports:\n{{- range .Values.networkPolicies.apiServerPorts }}\n- port: {{ . }}\n{{- end }}"
            made.put_block(text, "spec", "egress", index, "ports")


def templates() -> dict[str, str]:
    """Give the text of every template, by its file name: one for the whole, one for each component."""
    texts: dict[str, list[str]] = {}
    for obj in installation_objects(INSTALLATION):
        name = obj.metadata.name.removeprefix("argosy-")
        file = "network-policies" if isinstance(obj, NetworkPolicy) else name if name in COMPONENTS else "shared"
        text = template(obj).rendered()
        if obj.KIND == "Namespace":
            text = f"{{{{- if .Values.createNamespace }}}}\n{text}{{{{- end }}}}\n"
        texts.setdefault(file, []).append(text)
    made = {f"{file}.yaml": "---\n".join(parts) for file, parts in texts.items()}
    policies = made["network-policies.yaml"]
    made["network-policies.yaml"] = f"{{{{- if .Values.networkPolicies.enabled }}}}\n{policies}{{{{- end }}}}\n"
    return made


class Choice(NamedTuple):
    """What a person may choose: a value's path, how it comes, its schema, and what it is."""

    path: str
    default: Any
    schema: dict[str, Any]
    meaning: str


TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
COUNT = {"type": "integer", "minimum": 1}
SHARE = {"type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": r"^(0(\.[0-9]+)?|1(\.0+)?)$"}
"""Helm's --set takes whole numbers for numbers, and all others for texts."""
LABELS = {"type": "object", "additionalProperties": TEXT}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}
RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"requests": QUANTITIES, "limits": QUANTITIES},
}


def one_of(*values: str) -> dict[str, Any]:
    """Give the schema of one of several texts."""
    return {"type": "string", "enum": list(values)}


def list_of(schema: dict[str, Any], *, least: int = 0) -> dict[str, Any]:
    """Give the schema of a list."""
    return {"type": "array", "items": schema, "minItems": least}


CHOICES = (
    Choice("image.registry", PLACE.image_registry, TEXT, "Before the names of images: registry.example.com/team."),
    Choice(
        "image.pullPolicy",
        "",
        one_of("", "Always", "IfNotPresent", "Never"),
        "Of operators, gateways and pickers; Kubernetes' own default when empty.",
    ),
    Choice("replicas", PLACE.replicas, COUNT, "Operators, gateways, pickers, and Envoys of each Gateway."),
    Choice("port", INSTALLATION.port, PORT, "Where the Gateway takes requests."),
    Choice(
        "serviceType",
        PLACE.service_type,
        one_of("LoadBalancer", "NodePort", "ClusterIP"),
        "The type of the Service before a Gateway's Envoys.",
    ),
    Choice("createNamespace", True, FLAG, "Whether the chart makes namespace argosy-system."),
    Choice("networkPolicies.enabled", True, FLAG, "Whether only those who must reach Argosy can."),
    Choice(
        "networkPolicies.apiServerPorts",
        list(PLACE.api_server_ports),
        list_of(PORT, least=1),
        "The ports at which pods reach the API server.",
    ),
    Choice(
        "tracing.endpoint",
        PLACE.collector,
        {"type": "string", "pattern": "^(http://.+)?$"},
        "The OpenTelemetry collector that Envoys and pickers send spans to: http://collector.tracing:4318.",
    ),
    Choice("tracing.share", 1, SHARE, "Of requests that belong to no trace, the share that begin one, 0 to 1."),
    Choice(
        "decisions.share",
        0,
        SHARE,
        f"Of which share of all requests, 0 to 1, pickers write decisions to {DECISIONS_FILE}.",
    ),
    Choice("nodeSelector", {}, LABELS, "Labels of the nodes that operators, gateways and pickers run on."),
    Choice("tolerations", [], list_of({"type": "object"}), "Taints that operators, gateways and pickers tolerate."),
)


def choices() -> Iterator[Choice]:
    """Give all that may be chosen, in the order of values.yaml."""
    yield from CHOICES
    deployments = {obj.metadata.name: obj for obj in installation_objects(INSTALLATION) if isinstance(obj, Deployment)}
    for name in COMPONENTS:
        resources = msgspec.to_builtins(deployments[f"argosy-{name}"].spec.template.spec.containers[0].resources)
        yield Choice(f"{name}.resources", resources, RESOURCES, f"What each {name} asks for, and gets at most.")


def values_file() -> str:
    """Give values.yaml: how everything comes, each with a comment."""
    tree: dict[str, Any] = {}
    comments: dict[str, str] = {}
    for path, default, _, meaning in choices():
        *parents, name = path.split(".")
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[name] = default
        comments[path] = meaning
    return f"{NOTE}\n" + "\n".join(_commented(tree, comments, "", 0)) + "\n"


def _commented(tree: Mapping[str, Any], comments: Mapping[str, str], above: str, depth: int) -> Iterator[str]:
    for name, value in tree.items():
        path = f"{above}{name}"
        indent = "  " * depth
        if path in comments:
            yield f"{indent}# {comments[path]}"
            text = yaml.safe_dump({name: value}, sort_keys=False, width=1000)
            yield from (f"{indent}{line}" for line in text.splitlines())
        else:
            yield f"{indent}{name}:"
            yield from _commented(value, comments, f"{path}.", depth + 1)


def values_schema() -> str:
    """Give values.schema.json, which refuses what is not a value and what is not of its kind."""

    def closed() -> dict[str, Any]:
        return {"type": "object", "additionalProperties": False, "properties": {}}

    root = {"$schema": "http://json-schema.org/draft-07/schema#", **closed()}
    root["properties"]["global"] = {"type": "object"}  # Helm's own
    for path, _, schema, meaning in choices():
        *parents, name = path.split(".")
        at = root
        for parent in parents:
            at = at["properties"].setdefault(parent, closed())
        at["properties"][name] = {"description": meaning, **schema}
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def chart_file() -> str:
    """Give Chart.yaml."""
    content = {
        "apiVersion": "v2",
        "name": "argosy",
        "description": "Serves large language models on Kubernetes",
        "type": "application",
        "version": __version__,
        "appVersion": __version__,
        "kubeVersion": f">={OLDEST_KUBERNETES[0]}.{OLDEST_KUBERNETES[1]}.0-0",
    }
    return f"{NOTE}\n" + yaml.safe_dump(content, sort_keys=False)


def files() -> dict[str, str]:
    """Give every file of the chart by its path."""
    definitions = {f"crds/{path.name}": path.read_text() for path in sorted(PUBLISHED.glob("*.yaml"))}
    definitions["crds/argosy.dev_llmservices.yaml"] = yaml.safe_dump(crd(), sort_keys=False, width=120)
    return {
        "Chart.yaml": chart_file(),
        "values.yaml": values_file(),
        "values.schema.json": values_schema(),
        "templates/_helpers.tpl": HELPERS,
        "templates/NOTES.txt": NOTES,
        **{f"templates/{name}": text for name, text in templates().items()},
        **definitions,
    }


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, text in files().items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text)
        print(f"charts/argosy/{name}: {len(text.splitlines())} lines")
