"""What an engine's pods are made of: all that planning asks of a model server stands in one value.

One module for each engine gives an `EngineContainer` for the workers of a role; `engine_pods` makes Deployments of it
and knows no engine by name but in its table.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import msgspec

from argosy.api.containers import (
    Container,
    ContainerPort,
    EnvVar,
    EnvVarSource,
    HTTPGetAction,
    Probe,
    ResourceFieldRef,
    ResourceRequirements,
    Volume,
    VolumeMount,
)
from argosy.api.names import ENGINE_PORT, KV_PORT
from argosy.api.quantity import canonical, mebibytes
from argosy.decide.planning.stand_ins import Served, ServedRole

DEFAULT_CPUS: Final = 2
"""CPUs of a replica where the file names none."""
SCRATCH_BYTES: Final = 64 * 1024 * 1024
THREADS: Final = EnvVar(
    name="THREADS", value_from=EnvVarSource(resource_field_ref=ResourceFieldRef(resource="limits.cpu"))
)
"""As many threads as the container may use CPUs: what its node gives, which may be less than what is asked for."""


class EngineContainer(msgspec.Struct, frozen=True, kw_only=True):
    """An engine of one role.

    `startup_s` is how long its start may take, `grace_s` how long its end. `layout` is all that its KV cache depends
    on, in any form that JSON can hold: between workers of equal layouts caches move. At `peer_ports` workers of a
    service reach one another; without any, at all ports. `fetches` says whether weights come from elsewhere, and
    `service_links` whether variables that are named for Services do harm (False).
    """

    container: Container
    volumes: tuple[Volume, ...]
    startup_s: int
    grace_s: int
    layout: tuple[Any, ...]
    peer_ports: tuple[int, ...] = (KV_PORT,)
    fetches: bool = False
    service_links: bool | None = None


EngineContainers: TypeAlias = Callable[[Served, ServedRole], EngineContainer]


def hands_over(role: ServedRole) -> bool:
    """Whether workers of a role hand KV caches over or take them."""
    return role.name != "serve"


def ports(role: ServedRole) -> tuple[ContainerPort, ...]:
    """Give the ports of an engine: that of the API, and of workers that exchange KV caches theirs."""
    http = ContainerPort(name="http", container_port=ENGINE_PORT)
    return (http, ContainerPort(name="kv", container_port=KV_PORT)) if hands_over(role) else (http,)


def literal(text: str) -> str:
    """Keep Kubernetes from replacing `$(NAME)` in what a user wrote."""
    return text.replace("$", "$$")


def scratch(*, handed_bytes: int = 0) -> tuple[Volume, VolumeMount]:
    """Give the one place where an engine may write: sockets and the like, no data.

    With `handed_bytes` so much may wait there besides until another engine fetches it, in memory, which is the pod's.
    """
    room: dict[str, str] = {"sizeLimit": mebibytes(SCRATCH_BYTES + handed_bytes)}
    volume = Volume(name="scratch", empty_dir={"medium": "Memory", **room} if handed_bytes else room)
    return volume, VolumeMount(name="scratch", mount_path="/tmp")  # noqa: S108 (a pod's own)


def files(
    source: str, *, name: str = "weights", kind: str = "File"
) -> tuple[tuple[Volume, ...], tuple[VolumeMount, ...]]:
    """Give the volume of weights that lie on every node, at the same path inside."""
    if not source.startswith("file://"):
        return (), ()
    path = unquote(source.removeprefix("file://"))
    return (
        (Volume(name=name, host_path={"path": path, "type": kind}),),
        (VolumeMount(name=name, mount_path=path, read_only=True),),
    )


def resources(role: ServedRole, *, need_bytes: int | None) -> ResourceRequirements:
    """Give as many CPUs as threads, and what the file says of memory, or else the need; a quarter more is the limit.

    Nothing is said of memory where the need is unknown: a wrong limit kills.
    """
    cpu, memory = canonical(role.hardware.cpu or DEFAULT_CPUS), role.hardware.memory
    if memory is not None:
        memory = canonical(memory)
        return ResourceRequirements(requests={"cpu": cpu, "memory": memory}, limits={"cpu": cpu, "memory": memory})
    if need_bytes is None:
        return ResourceRequirements(requests={"cpu": cpu}, limits={"cpu": cpu})
    return ResourceRequirements(
        requests={"cpu": cpu, "memory": mebibytes(need_bytes)},
        limits={"cpu": cpu, "memory": mebibytes(need_bytes * 5 // 4)},
    )


def answering(path: str, *, period_s: int, timeout_s: int, failures: int, grace_s: int | None = None) -> Probe:
    """Give a probe of an HTTP path at the port `http`; `grace_s` is that of a container that it has given up."""
    return Probe(
        http_get=HTTPGetAction(path=path, port="http"),
        period_seconds=period_s,
        timeout_seconds=timeout_s,
        failure_threshold=failures,
        termination_grace_period_seconds=grace_s,
    )
