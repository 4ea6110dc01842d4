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

import msgspec

from argosy.api.containers import EnvFromSource, EnvVar, ResourceFieldRef
from argosy.api.kubernetes import Pod
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


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What ConfigMaps and Secrets hold, by name and key, as far as a pod may see them."""

    config_maps: Mapping[str, Mapping[str, str]] = {}
    secrets: Mapping[str, Mapping[str, str]] = {}


NO_KEYS = Keys()


def container_variables(
    env: tuple[EnvVar, ...],
    given: Mapping[str, str],
    fields: Mapping[str, str],
    *,
    env_from: tuple[EnvFromSource, ...] = (),
    keys: Keys = NO_KEYS,
) -> dict[str, str]:
    """Give `given` and the variables of a container; `fields` are values by path. Raises `Unresolvable`."""
    variables = dict(given)
    for source in env_from:
        prefix = source.prefix or ""
        for kind, reference, held in (
            ("ConfigMap", source.config_map_ref, keys.config_maps),
            ("Secret", source.secret_ref, keys.secrets),
        ):
            if reference is None:
                continue
            if reference.name not in held and not reference.optional:
                raise Unresolvable(f"variables of {kind} {reference.name}: it does not exist")
            variables |= {prefix + key: value for key, value in held.get(reference.name, {}).items()}
    for variable in env:
        value = _value(variable, variables, fields, keys)
        if value is not None:
            variables[variable.name] = value
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


def resource_path(reference: ResourceFieldRef) -> str:
    """Give the path by which the value of a resource stands among `fields`: with a divisor it has one of its own."""
    whole = reference.divisor in (None, "0", "1")
    return reference.resource if whole else f"{reference.resource}/{reference.divisor}"


def _value(variable: EnvVar, known: Mapping[str, str], fields: Mapping[str, str], keys: Keys) -> str | None:
    """Give the value of a variable, or None where its optional source is not there."""
    source = variable.value_from
    if source is None:
        return expand(variable.value or "", known)
    for kind, reference, held in (
        ("ConfigMap", source.config_map_key_ref, keys.config_maps),
        ("Secret", source.secret_key_ref, keys.secrets),
    ):
        if reference is not None:
            value = held.get(reference.name, {}).get(reference.key)
            if value is None and not reference.optional:
                raise Unresolvable(f"variable {variable.name}: {kind} {reference.name} has no key {reference.key}")
            return value
    path = source.field_ref.field_path if source.field_ref else ""
    if source.resource_field_ref:
        path = resource_path(source.resource_field_ref)
    if path not in fields:
        raise Unresolvable(f"variable {variable.name}: nothing is known of {path or 'its source'!r}")
    return fields[path]
