"""The environment and arguments of a container, as the kubelet resolves them.

Rules of this file:

- `$(NAME)` is replaced by a variable known so far, stays as it is when there is none, and `$$` is a dollar sign
  (Kubernetes, "Define dependent environment variables").
- Variables are known in this order: those given from outside (of Services), then the container's own, in their order.

    PeerError
    └── Unresolvable   a variable's source does not exist; the message names variable and field
"""

import re
from collections.abc import Mapping

from argosy.api.kubernetes import EnvVar, Pod
from argosy.base.errors import PeerError

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")


class Unresolvable(PeerError):  # noqa: N818 (named for the state)
    """A variable names a field or resource that cannot be given."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace references in a text."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else variables.get(name, match.group(0))

    return _REFERENCE.sub(replacement, text)


def container_variables(env: tuple[EnvVar, ...], given: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    """Give `given` and the variables of a container; `fields` are values by path. Raises `Unresolvable`."""
    variables = dict(given)
    for variable in env:
        variables[variable.name] = _value(variable, variables, fields)
    return variables


def pod_fields(pod: Pod, *, address: str, limits: Mapping[str, str]) -> dict[str, str]:
    """Give the fields of a pod by their paths, and `limits` as `limits.NAME`."""
    return {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace or "",
        "metadata.uid": pod.metadata.uid or "",
        "spec.nodeName": pod.spec.node_name or "",
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.podIP": address,
        "status.hostIP": address,
        **{f"metadata.labels['{name}']": value for name, value in pod.metadata.labels.items()},
        **{f"metadata.annotations['{name}']": value for name, value in pod.metadata.annotations.items()},
        **{f"limits.{name}": value for name, value in limits.items()},
    }


def _value(variable: EnvVar, known: Mapping[str, str], fields: Mapping[str, str]) -> str:
    source = variable.value_from
    if source is None:
        return expand(variable.value or "", known)
    path = source.field_ref.field_path if source.field_ref else ""
    if source.resource_field_ref:
        path = source.resource_field_ref.resource
    if path not in fields:
        raise Unresolvable(f"variable {variable.name}: nothing is known of {path or 'its source'!r}")
    return fields[path]
