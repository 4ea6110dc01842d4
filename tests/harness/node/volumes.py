"""What the volumes of a pod hold. Pure: objects in, files in folders out.

Rules of this file:

- A volume whose contents come from the API is a mapping from relative path to `File`; what is missing and not optional
  is a `Missing` with a sentence.
- A file has the mode that its item, its volume or Kubernetes' default says.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from argosy.api.containers import DownwardFile, KeyToPath, Projection, SecretProjection, TokenProjection, Volume
from argosy.api.kubernetes import ConfigMap, Pod, Secret
from argosy.edge.processes.environment import resource_path

DEFAULT_MODE = 0o644
OF_USER_MODE = 0o600
Files = dict[str, "File"]


class Missing(Exception):  # noqa: N818 (named for the state)
    """An object or a key that a pod needs is not there (yet)."""


class File(NamedTuple):
    """One file of a volume."""

    content: bytes
    mode: int = DEFAULT_MODE


class Sources(NamedTuple):
    """What a pod's volumes and variables are made from; objects of the pod's namespace by name."""

    config_maps: Mapping[str, ConfigMap]
    secrets: Mapping[str, Secret]
    tokens: Mapping[TokenProjection, str]
    fields: Mapping[str, str] = {}


class Needs(NamedTuple):
    """What a pod names: ConfigMaps and Secrets, each with whether it can do without, and tokens."""

    config_maps: dict[str, bool]
    secrets: dict[str, bool]
    tokens: tuple[TokenProjection, ...]


def needs(pod: Pod) -> Needs:
    """Give what a pod's volumes and variables name."""
    named: dict[str, dict[str, bool]] = {"config_map": {}, "secret": {}}
    for kind, name, optional in (*_named_by_volumes(pod), *_named_by_variables(pod)):
        named[kind][name] = bool(optional) and named[kind].get(name, True)
    projections = (source for volume in pod.spec.volumes if volume.projected for source in volume.projected.sources)
    tokens = (source.service_account_token for source in projections)
    return Needs(named["config_map"], named["secret"], tuple(token for token in tokens if token is not None))


Named = Iterator[tuple[str, str, bool | None]]
"""Kind, name, and whether it may be missing."""


def _named_by_volumes(pod: Pod) -> Named:
    for volume in pod.spec.volumes:
        if volume.config_map is not None:
            yield "config_map", volume.config_map.name, volume.config_map.optional
        if volume.secret is not None:
            yield "secret", volume.secret.secret_name, volume.secret.optional
        for source in volume.projected.sources if volume.projected else ():
            for kind in ("config_map", "secret"):
                one = getattr(source, kind)
                if one is not None:
                    yield kind, one.name, one.optional


def _named_by_variables(pod: Pod) -> Named:
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        sources = [each.value_from for each in container.env if each.value_from is not None]
        for kind in ("config_map", "secret"):
            everything = (getattr(each, f"{kind}_ref") for each in container.env_from)
            keys = (getattr(each, f"{kind}_key_ref") for each in sources)
            for reference in (*everything, *keys):
                if reference is not None:
                    yield kind, reference.name, reference.optional


def contents(volume: Volume, sources: Sources) -> Files | None:
    """Give the files of a volume, or None for one that does not come from the API. Raises `Missing`."""
    if volume.config_map is not None:
        of = volume.config_map
        return _of_config_map(of.name, of.items, sources, optional=of.optional, mode=of.default_mode)
    if volume.secret is not None:
        secret = volume.secret
        return _of_secret(secret.secret_name, secret.items, sources, optional=secret.optional, mode=secret.default_mode)
    if volume.downward_api is not None:
        return _of_fields(volume.downward_api.items, sources, volume.downward_api.default_mode)
    if volume.projected is not None:
        files: Files = {}
        for source in volume.projected.sources:
            files |= _projected(source, sources, volume.projected.default_mode)
        return files
    return None


def config_map_bytes(config_map: ConfigMap) -> dict[str, bytes]:
    """Give the values of a ConfigMap."""
    texts = {key: value.encode() for key, value in config_map.data.items()}
    return texts | {key: base64.b64decode(value) for key, value in config_map.binary_data.items()}


def secret_bytes(secret: Secret) -> dict[str, bytes]:
    """Give the values of a Secret."""
    return {key: base64.b64decode(value) for key, value in secret.data.items()}


def _projected(source: Projection, sources: Sources, mode: int | None) -> Files:
    if source.service_account_token is not None:
        token = source.service_account_token
        return {token.path: File(sources.tokens[token].encode(), DEFAULT_MODE if mode is None else mode)}
    if source.downward_api is not None:
        return _of_fields(source.downward_api.items, sources, mode)
    one: SecretProjection | None = source.config_map
    if one is not None:
        return _of_config_map(one.name, one.items, sources, optional=one.optional, mode=mode)
    one = source.secret
    if one is not None:
        return _of_secret(one.name, one.items, sources, optional=one.optional, mode=mode)
    return {}


def _of_config_map(
    name: str, items: Iterable[KeyToPath], sources: Sources, *, optional: bool | None, mode: int | None
) -> Files:
    held = sources.config_maps.get(name)
    values = None if held is None else config_map_bytes(held)
    return _keys(f"ConfigMap {name}", values, tuple(items), optional=bool(optional), mode=mode)


def _of_secret(
    name: str, items: Iterable[KeyToPath], sources: Sources, *, optional: bool | None, mode: int | None
) -> Files:
    held = sources.secrets.get(name)
    values = None if held is None else secret_bytes(held)
    return _keys(f"Secret {name}", values, tuple(items), optional=bool(optional), mode=mode)


def _keys(
    named: str, values: Mapping[str, bytes] | None, items: tuple[KeyToPath, ...], *, optional: bool, mode: int | None
) -> Files:
    usual = DEFAULT_MODE if mode is None else mode
    if values is None:
        if optional:
            return {}
        raise Missing(f"{named} does not exist")
    if not items:
        return {key: File(value, usual) for key, value in values.items()}
    absent = [item.key for item in items if item.key not in values]
    if absent and not optional:
        raise Missing(f"{named} has no key {absent[0]}")
    return {
        item.path: File(values[item.key], usual if item.mode is None else item.mode)
        for item in items
        if item.key in values
    }


def _of_fields(items: Iterable[DownwardFile], sources: Sources, mode: int | None) -> Files:
    files: Files = {}
    for item in items:
        path = item.field_ref.field_path if item.field_ref else ""
        if item.resource_field_ref is not None:
            path = f"{item.resource_field_ref.container_name}/{resource_path(item.resource_field_ref)}"
        if path not in sources.fields:
            raise Missing(f"nothing is known of {path!r}")
        usual = DEFAULT_MODE if mode is None else mode
        files[item.path] = File(sources.fields[path].encode(), usual if item.mode is None else item.mode)
    return files
