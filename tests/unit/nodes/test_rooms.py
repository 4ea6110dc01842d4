from pathlib import Path

import pytest

from argosy.api.containers import Container, PodSecurityContext, SecurityContext
from argosy.api.kubernetes import Pod, PodSpec
from argosy.api.objects import ObjectMeta
from harness.node.rooms import Mount, Surroundings, User, capabilities, must_not_be_root, room, user, visible

AROUND = Surroundings("/proc/1/fd/7", "p", {"/etc/hostname": "p\n"}, ("root", "tmp"), ("/root/x",))


def container(**fields: object) -> Container:
    return Container(name="c", image="i", security_context=SecurityContext(**fields) if fields else None)


def pod(**fields: object) -> Pod:
    context = PodSecurityContext(**fields) if fields else None
    return Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=(container(),), security_context=context))


@pytest.mark.parametrize(
    ("of_pod", "of_container", "expected"),
    [
        ({}, {}, User(0, 0, ())),
        ({"run_as_user": 5}, {}, User(5, 0, ())),
        ({"run_as_user": 5, "run_as_group": 6}, {"run_as_user": 7}, User(7, 6, ())),
        ({"run_as_user": 5, "fs_group": 8, "supplemental_groups": (9,)}, {}, User(5, 0, (9, 8))),
    ],
)
def test_a_container_s_own_user_goes_before_the_pod_s(
    of_pod: dict[str, object], of_container: dict[str, object], expected: User
) -> None:
    assert user(pod(**of_pod), container(**of_container), 0) == expected


def test_without_one_it_is_the_image_s_user() -> None:
    assert user(pod(), container(), 65532) == User(65532, 65532, ())


def test_a_container_s_own_word_on_root_goes_before_the_pod_s() -> None:
    assert must_not_be_root(pod(run_as_non_root=True), container())
    assert not must_not_be_root(pod(run_as_non_root=True), container(run_as_non_root=False))
    assert not must_not_be_root(pod(), container())


def test_capabilities_are_the_usual_ones_less_what_is_dropped_and_more_what_is_added() -> None:
    usual = capabilities(container())
    assert 10 in usual  # NET_BIND_SERVICE
    assert 21 not in usual  # SYS_ADMIN
    assert capabilities(container(capabilities={"drop": ("ALL",), "add": ("NET_BIND_SERVICE",)})) == (10,)
    assert 12 in capabilities(container(capabilities={"add": ("CAP_NET_ADMIN",)}))
    assert len(capabilities(container(privileged=True))) > len(usual)


def test_only_hidden_folders_are_shown_each_once() -> None:
    folders = [Path("/tmp/a/b"), Path("/tmp/a"), Path("/usr/lib"), Path("/tmp/a/c")]  # noqa: S108
    assert visible(folders, ("tmp", "root")) == ("/tmp/a",)  # noqa: S108


def test_a_room_has_outer_mounts_before_inner_ones() -> None:
    mounts = [Mount("/v/b", "/data/inner", read_only=False), Mount("/v/a", "/data", read_only=True)]
    made = room(container(read_only_root_filesystem=True), AROUND, User(5, 6, (7,)), mounts, "/scratch")
    assert [target for _, target, _ in made["mounts"]] == ["/data", "/data/inner"]
    assert made["read_only_root"]
    assert (made["user"], made["group"], made["groups"]) == (5, 6, [7])
    assert made["working_dir"] == "/"
