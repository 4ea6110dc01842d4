"""Furnishes a pod: the folders of its volumes, the rooms of its containers, and what its runner is given."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from argosy.api.containers import Container, ResourceFieldRef, Volume
from argosy.api.kubernetes import Pod, Service
from argosy.edge.processes.ends import End
from argosy.edge.processes.environment import Keys
from argosy.edge.processes.pods import Place, PodSetting, image_name
from argosy.edge.processes.setting import Conventions, Refusal
from harness.node.folders import Owner, fill, host_path, make_empty
from harness.node.rooms import Mount, Room, Surroundings, User, hidden, must_not_be_root, room, user, visible
from harness.node.setting import Image, NodeSetting, programs_of, read_images, search_path
from harness.node.status import end_message
from harness.node.values import fields, resources, service_variables
from harness.node.volumes import Missing, Sources, contents, secret_bytes


async def ask_grpc(authority: str, service: str, timeout_s: float) -> tuple[bool, str]:
    """Ask for the health of a gRPC service; what is needed for it is imported by the first probe that asks so."""
    from argosy.edge.rpc.health_grpc import ask_health  # noqa: PLC0415 (a third of a node's start)

    return await ask_health(authority, service, timeout_s)


HIDDEN = hidden(os.scandir("/"))
TERMINATION_LOG = "/dev/termination-log"
MESSAGE_BYTES = 4096


class Lodging(NamedTuple):
    """Where a pod is put: its folder, its address, and the path of its network (empty: the node's own)."""

    folder: Path
    logs: Path
    address: str
    network: str


class Furnished(NamedTuple):
    """A pod that may start, and the folders that follow their sources, with the labels and annotations they tell of."""

    setting: PodSetting
    folders: tuple[tuple[Volume, Path], ...]
    told: tuple[dict[str, str], dict[str, str]]


class Site(NamedTuple):
    """What the containers of a pod have in common; `shown` are the folders of its volumes by name."""

    node: NodeSetting
    lodging: Lodging
    sources: Sources
    around: Surroundings
    images: dict[str, Image]
    shown: dict[str, str]


def furnish(
    pod: Pod, node: NodeSetting, lodging: Lodging, sources: Sources, services: tuple[Service, ...]
) -> Furnished:
    """Make all that a pod needs. Raises `Missing` or `OSError` with what is not there."""
    images = read_images(Path(node.images))
    sources = with_fields(pod, node, lodging, sources)
    volumes = lodging.folder / "volumes"
    volumes.mkdir(exist_ok=True)
    shown: dict[str, str] = {}
    following: list[tuple[Volume, Path]] = []
    for volume in pod.spec.volumes:
        folder = volumes / volume.name
        shown[volume.name] = str(folder)
        files = contents(volume, sources)
        if files is not None:
            _fill(pod, volume, folder, sources)
            following.append((volume, folder))
        elif volume.empty_dir is not None:
            make_empty(folder, _owner(pod))
        elif volume.host_path is not None:
            shown[volume.name] = host_path(volume.host_path)
        else:
            raise Missing(f"volume {volume.name}: such volumes do not exist on this machine")
    around = _surroundings(pod, node, lodging)
    site = Site(node, lodging, sources, around, images, shown)
    places = {
        container.name: _place(pod, container, site) for container in (*pod.spec.init_containers, *pod.spec.containers)
    }
    setting = PodSetting(
        address=lodging.address,
        commands={name: image.command for name, image in images.items()},
        inherited={"PATH": search_path(), "HOSTNAME": around.hostname, "LANG": "C.UTF-8"},
        variables=service_variables(services, pod.key.namespace, links=pod.spec.enable_service_links is not False),
        logs=lodging.logs,
        conventions=_conventions(lodging.folder),
        places=places,
    )
    return Furnished(setting, tuple(following), (pod.metadata.labels, pod.metadata.annotations))


def _conventions(folder: Path) -> Conventions:
    def message(container: Container, end: End) -> str:
        file = folder / f"{container.name}.message"
        written = file.read_bytes()[-MESSAGE_BYTES:].decode(errors="replace") if file.exists() else ""
        file.write_bytes(b"")
        return end_message(container, end, written)

    return Conventions(ready_while_stopping=True, end_message=message, ask_grpc=ask_grpc)


def refill(furnished: Furnished, pod: Pod, node: NodeSetting, lodging: Lodging, sources: Sources) -> None:
    """Bring the files of a pod's volumes up to date. Raises `Missing`."""
    sources = with_fields(pod, node, lodging, sources)
    for volume, folder in furnished.folders:
        _fill(pod, volume, folder, sources)


def with_fields(pod: Pod, node: NodeSetting, lodging: Lodging, sources: Sources) -> Sources:
    """Give the sources with the pod's own fields."""
    values = fields(pod, address=lodging.address, host=node.address, references=_references(pod))
    return sources._replace(fields=values)


def _references(pod: Pod) -> Iterator[ResourceFieldRef]:
    for volume in pod.spec.volumes:
        own = volume.downward_api.items if volume.downward_api else ()
        projections = volume.projected.sources if volume.projected else ()
        projected = (item for each in projections if each.downward_api for item in each.downward_api.items)
        for item in (*own, *projected):
            if item.resource_field_ref is not None:
                yield item.resource_field_ref


def _fill(pod: Pod, volume: Volume, folder: Path, sources: Sources) -> None:
    projections = volume.projected.sources if volume.projected else ()
    tokens = (each.service_account_token for each in projections)
    private = frozenset(token.path for token in tokens if token is not None)
    fill(folder, contents(volume, sources) or {}, _owner(pod), private=private)


def _owner(pod: Pod) -> Owner:
    """Give whose a pod's volumes are: of its group, and tokens of its one user, if it has one."""
    context = pod.spec.security_context
    if context is not None and context.fs_group is not None:
        return Owner(group=context.fs_group)
    users = {user(pod, each, -1).user for each in (*pod.spec.init_containers, *pod.spec.containers)}
    return Owner(user=users.pop()) if len(users) == 1 else Owner()


def _surroundings(pod: Pod, node: NodeSetting, lodging: Lodging) -> Surroundings:
    hostname = node.name if pod.spec.host_network else (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")
    space = f"{pod.key.namespace}.svc.cluster.local"
    names = f"{hostname}.{pod.spec.subdomain}.{space} {hostname}" if pod.spec.subdomain else hostname
    files = {
        "/etc/hostname": f"{hostname}\n",
        "/etc/hosts": f"127.0.0.1\tlocalhost\n{lodging.address}\t{names}\n",
        "/etc/resolv.conf": f"search {space} svc.cluster.local cluster.local\n"
        f"nameserver {node.name_server}\noptions ndots:5\n",
    }
    return Surroundings(lodging.network, hostname, files, HIDDEN, ())


def _place(pod: Pod, container: Container, site: Site) -> Place:
    lodging, sources = site.lodging, site.sources
    image = site.images.get(image_name(container.image))
    who = user(pod, container, image.user if image else 0)
    around = site.around._replace(visible=visible(programs_of(image or Image()), site.around.hidden))
    files = {each.name: each.empty_dir is None and each.host_path is None for each in pod.spec.volumes}
    mounts = [
        Mount(
            _shown(Path(site.shown[each.name]), each.sub_path),
            each.mount_path,
            bool(each.read_only) or files[each.name],
        )
        for each in container.volume_mounts
    ]
    message = lodging.folder / f"{container.name}.message"
    message.touch()
    message.chmod(0o666)
    mounts.append(Mount(str(message), container.termination_message_path or TERMINATION_LOG, read_only=False))
    scratch = lodging.folder / f"{container.name}.root"
    inside: dict[str, Any] = room(container, around, who, mounts, str(scratch))
    keys = Keys(
        config_maps={name: config_map.data for name, config_map in sources.config_maps.items()},
        secrets={
            name: {key: value.decode(errors="replace") for key, value in secret_bytes(secret).items()}
            for name, secret in sources.secrets.items()
        },
    )
    return Place(
        enclosure=Room(lodging.folder / f"{container.name}.room", inside),
        refusal=_refusal(pod, container, image, who),
        inherited={"HOME": "/root" if who.user == 0 else "/", **(image.env if image else {})},
        fields={**sources.fields, **resources(container, site.node.all_resources)},
        keys=keys,
        restarts=_restarts(pod, container),
    )


def _shown(folder: Path, sub_path: str | None) -> str:
    """Give what a container sees of a volume: all of it, or a part, which is made where it may be."""
    part = folder / (sub_path or "")
    if not part.exists():
        part.mkdir(parents=True)
        part.chmod(0o777)
    return str(part.resolve())


def _refusal(pod: Pod, container: Container, image: Image | None, who: User) -> Refusal | None:
    if image is None:
        why = f"no program of this machine stands for image {container.image}"
        return Refusal(reason="ErrImagePull", later="ImagePullBackOff", why=why)
    if who.user == 0 and must_not_be_root(pod, container):
        why = f"container {container.name} has runAsNonRoot and would run as root"
        return Refusal(reason="CreateContainerConfigError", why=why)
    return None


def _restarts(pod: Pod, container: Container) -> int:
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if status.name == container.name and ("waiting" not in status.state or status.last_state) and status.state:
            return status.restart_count + 1
    return 0


def unchanged(furnished: Furnished, pod: Pod) -> bool:
    """Say whether a pod's labels and annotations are those that its files tell of."""
    return furnished.told == (pod.metadata.labels, pod.metadata.annotations)


def retold(furnished: Furnished, pod: Pod) -> Furnished:
    """Note that the files tell of the pod's labels and annotations now."""
    return furnished._replace(told=(pod.metadata.labels, pod.metadata.annotations))
