"""Kubeconfig files, read as kubectl reads them: several make one, and a context of it says where and as whom.

Rules of this file:

- Of several files the first that names a context, a cluster or a user is right; a file that is not there is passed over
  unless it is the only one.
- Relative paths are of the file that they stand in.
- What lightkube does not know of a kubeconfig is kept beside its own values: exec plugins of every version, `proxy-url`
  and `tls-server-name`.

Source: kubernetes.io, "Organizing Cluster Access Using kubeconfig Files".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from argosy.base.errors import UserError

_LISTS: Final = (("clusters", "cluster"), ("contexts", "context"), ("users", "user"))
_PATHS: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")

# lightkube takes a kubeconfig's shape for granted.
_UNREADABLE = (OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError, msgspec.ValidationError)


class ExecPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A program that says who we are. `cluster` is told to it when it asks; `folder` is where its path begins."""

    api_version: str
    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    install_hint: str = ""
    cluster: dict[str, Any] | None = None
    folder: Path = Path()


class Settings(msgspec.Struct, frozen=True):
    """Where an API server is and how to be let in: as lightkube has it, and what it does not know."""

    config: SingleConfig
    plugin: ExecPlugin | None = None
    proxy: str | None = None
    server_name: str | None = None


class Kubeconfig(msgspec.Struct, frozen=True, kw_only=True):
    """What files say together. `names` are the files, for messages."""

    names: str
    merged: dict[str, Any]
    folders: dict[str, Path]
    """The folder of the file that a user stands in."""

    @property
    def current_context(self) -> str | None:
        """The context that is meant where none is named."""
        return self.merged.get("current-context") or None

    @property
    def contexts(self) -> tuple[str, ...]:
        """All contexts, by name."""
        return tuple(sorted(str(entry.get("name")) for entry in self.merged["contexts"]))

    def settings(self, context: str | None = None) -> Settings:
        """Give the settings of a context, or of the current one. Raises `UserError`."""
        if context is None and self.current_context is None:
            raise UserError(f"{self.names} has no current context; choose one with `kubectl config use-context`")
        if context is not None and context not in self.contexts:
            known = ", ".join(self.contexts) or "none"
            raise UserError(f"{self.names} has no context {context!r}; there are: {known}")
        try:
            config = KubeConfig.from_dict(self.merged).get(context)
        except (*_UNREADABLE, ConfigError) as error:
            raise self._wrong(error) from error
        if config is None:
            raise UserError(f"{self.names} has no current context; choose one with `kubectl config use-context`")
        cluster = self._entry("clusters", "cluster", config.context.cluster)
        try:
            return Settings(
                config._replace(user=config.user or User()),
                plugin=self._plugin(config, cluster),
                proxy=cluster.get("proxy-url"),
                server_name=cluster.get("tls-server-name"),
            )
        except _UNREADABLE as error:
            raise self._wrong(error) from error

    def _plugin(self, config: SingleConfig, cluster: Mapping[str, Any]) -> ExecPlugin | None:
        name = config.context.user
        plugin = self._entry("users", "user", name).get("exec") if name else None
        if plugin is None:
            return None
        told = {key: cluster[key] for key in _TOLD if cluster.get(key) is not None}
        return ExecPlugin(
            api_version=plugin["apiVersion"],
            command=plugin["command"],
            args=tuple(plugin.get("args") or ()),
            env={each["name"]: each["value"] for each in plugin.get("env") or ()},
            install_hint=plugin.get("installHint") or "",
            cluster=told if plugin.get("provideClusterInfo") else None,
            folder=self.folders[name or ""],
        )

    def _entry(self, group: str, inner: str, name: str | None) -> dict[str, Any]:
        return next((entry[inner] or {} for entry in self.merged[group] if entry["name"] == name), {})

    def _wrong(self, error: Exception) -> UserError:
        return UserError(f"{self.names}: {error!r}; `kubectl config view` shows what it says")


_TOLD: Final = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
"""What a plugin is told of the cluster, when it asks."""


def read_kubeconfigs(paths: Sequence[Path]) -> Kubeconfig | None:
    """Read files as one; None when there is none of them. Raises `UserError` with the file and what is wrong in it."""
    merged: dict[str, Any] = {"clusters": [], "contexts": [], "users": []}
    folders: dict[str, Path] = {}
    there = [path for path in paths if path.exists()]
    for path in there:
        content = _read(path)
        merged["current-context"] = merged.get("current-context") or content.get("current-context")
        for group, inner in _LISTS:
            known = {entry["name"] for entry in merged[group]}
            for entry in _entries(path, content, group, inner):
                if entry["name"] not in known:
                    merged[group].append(entry)
                    if group == "users":
                        folders[entry["name"]] = path.parent.absolute()
    names = f"kubeconfig {':'.join(str(path) for path in there)}"
    return Kubeconfig(names=names, merged=merged, folders=folders) if there else None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"kubeconfig {path}: {error}; `kubectl config view` shows what it says") from error
    if not isinstance(content, dict):
        raise UserError(f"kubeconfig {path}: it is no mapping; is it the file you meant?")
    return content


def _entries(path: Path, content: Mapping[str, Any], group: str, inner: str) -> list[dict[str, Any]]:
    """Give a file's entries of a group, with absolute paths."""
    try:
        found = []
        for entry in content.get(group) or ():
            value = dict(entry.get(inner) or {})
            for name in _PATHS:
                if value.get(name):
                    value[name] = str(path.parent.absolute() / value[name])
            found.append({"name": entry["name"], inner: value})
    except _UNREADABLE as error:
        raise UserError(f"kubeconfig {path}: {group}: {error!r}; `kubectl config view` shows what it says") from error
    return found
