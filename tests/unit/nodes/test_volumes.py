import base64
from pathlib import Path

import pytest

from argosy.api.containers import (
    ConfigMapVolume,
    Container,
    DownwardFile,
    DownwardVolume,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    FieldRef,
    KeySelector,
    KeyToPath,
    ProjectedVolume,
    Projection,
    SecretProjection,
    SecretVolume,
    SourceName,
    TokenProjection,
    Volume,
)
from argosy.api.kubernetes import ConfigMap, Pod, PodSpec, Secret
from argosy.api.objects import ObjectMeta
from harness.node.folders import Owner, fill, host_path
from harness.node.volumes import File, Missing, Sources, contents, needs

WORD, NO_WORD = "word", "none"
TOKEN = TokenProjection(path="token")
SOURCES = Sources(
    config_maps={"settings": ConfigMap(metadata=ObjectMeta(name="settings"), data={"a": "1", "b": "2"})},
    secrets={"word": Secret(metadata=ObjectMeta(name="word"), data={"key": base64.b64encode(b"\xff\x00").decode()})},
    tokens={TOKEN: "abc"},
    fields={"metadata.name": "p"},
)


def test_all_keys_of_a_config_map_are_files() -> None:
    volume = Volume(name="v", config_map=ConfigMapVolume(name="settings"))
    assert contents(volume, SOURCES) == {"a": File(b"1", 0o644), "b": File(b"2", 0o644)}


def test_items_choose_keys_paths_and_modes() -> None:
    items = (KeyToPath(key="b", path="deep/b", mode=0o400),)
    volume = Volume(name="v", config_map=ConfigMapVolume(name="settings", items=items, default_mode=0o600))
    assert contents(volume, SOURCES) == {"deep/b": File(b"2", 0o400)}


def test_secrets_are_bytes() -> None:
    volume = Volume(name="v", secret=SecretVolume(secret_name=WORD, default_mode=0o400))
    assert contents(volume, SOURCES) == {"key": File(b"\xff\x00", 0o400)}


def test_a_projected_volume_puts_its_sources_into_one_folder() -> None:
    sources = (
        Projection(config_map=SecretProjection(name="settings", items=(KeyToPath(key="a", path="a"),))),
        Projection(secret=SecretProjection(name="word")),
        Projection(service_account_token=TOKEN),
        Projection(
            downward_api=DownwardVolume(
                items=(DownwardFile(path="name", field_ref=FieldRef(field_path="metadata.name")),)
            )
        ),
    )
    held = contents(Volume(name="v", projected=ProjectedVolume(sources=sources)), SOURCES)
    assert held is not None
    assert {path: file.content for path, file in held.items()} == {
        "a": b"1",
        "key": b"\xff\x00",
        "token": b"abc",
        "name": b"p",
    }


@pytest.mark.parametrize(
    ("volume", "sentence"),
    [
        (Volume(name="v", config_map=ConfigMapVolume(name="none")), "ConfigMap none does not exist"),
        (Volume(name="v", secret=SecretVolume(secret_name=NO_WORD)), "Secret none does not exist"),
        (
            Volume(name="v", config_map=ConfigMapVolume(name="settings", items=(KeyToPath(key="c", path="c"),))),
            "ConfigMap settings has no key c",
        ),
    ],
)
def test_what_is_missing_is_named(volume: Volume, sentence: str) -> None:
    with pytest.raises(Missing, match=sentence):
        contents(volume, SOURCES)


def test_what_is_optional_may_be_missing() -> None:
    assert contents(Volume(name="v", config_map=ConfigMapVolume(name="none", optional=True)), SOURCES) == {}
    items = (KeyToPath(key="c", path="c"), KeyToPath(key="a", path="a"))
    volume = Volume(name="v", config_map=ConfigMapVolume(name="settings", items=items, optional=True))
    assert contents(volume, SOURCES) == {"a": File(b"1", 0o644)}


def test_other_volumes_do_not_come_from_the_api() -> None:
    assert contents(Volume(name="v", empty_dir={}), SOURCES) is None


def test_a_pod_needs_what_its_volumes_and_variables_name_and_can_do_without_what_is_always_optional() -> None:
    key = EnvVarSource(config_map_key_ref=KeySelector(name="settings", key="a", optional=True))
    container = Container(
        name="c",
        image="i",
        env=(EnvVar(name="A", value_from=key),),
        env_from=(EnvFromSource(secret_ref=SourceName(name="word", optional=True)),),
    )
    volumes = (
        Volume(name="v", config_map=ConfigMapVolume(name="settings")),
        Volume(name="w", projected=ProjectedVolume(sources=(Projection(service_account_token=TOKEN),))),
    )
    named = needs(Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=(container,), volumes=volumes)))
    assert named.config_maps == {"settings": False}
    assert named.secrets == {"word": True}
    assert named.tokens == (TOKEN,)


def test_files_are_replaced_all_at_once_and_only_when_they_change(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert fill(folder, {"a": File(b"1"), "deep/b": File(b"2")}, Owner())
    before = (folder / "..data").readlink()
    assert not fill(folder, {"a": File(b"1"), "deep/b": File(b"2")}, Owner())
    assert (folder / "..data").readlink() == before
    assert fill(folder, {"a": File(b"3"), "c": File(b"4", 0o400)}, Owner())
    assert {each.name for each in folder.iterdir() if not each.name.startswith("..")} == {"a", "c"}
    assert ((folder / "a").read_bytes(), (folder / "c").read_bytes()) == (b"3", b"4")
    assert (folder / "c").stat().st_mode & 0o777 == 0o400
    assert not (folder / before).exists()


def test_a_host_path_is_made_only_where_its_type_says_so(tmp_path: Path) -> None:
    made = str(tmp_path / "made")
    with pytest.raises(FileNotFoundError, match="made"):
        host_path({"path": made, "type": "Directory"})
    assert host_path({"path": made, "type": "DirectoryOrCreate"}) == made
    assert host_path({"path": made}) == made
    with pytest.raises(FileNotFoundError):
        host_path({"path": made, "type": "File"})
