"""The scheduling file as a picker reads it, and as it is checked before one is started."""

import re
from pathlib import Path

import pytest

from argosy.apps.picker.scheduling import MAX_BYTES, check_scheduling, profile_file
from argosy.base.errors import UserError

HEAD = "apiVersion: argosy.dev/v1alpha1\nkind: SchedulingConfig\n"


def test_a_right_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"{HEAD}profile: lmetric\n")
    check_scheduling(file)
    assert profile_file(file).content.spec.name == "lmetric"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"profile: default\n", "is of kind None, apiVersion None; write kind: SchedulingConfig and apiVersion: "),
        (f"{HEAD}profiles: x\n".encode(), "line 3: profiles "),
        (f"{HEAD}profile: quick\n".encode(), "profile: there is no `quick`; there are default, "),
        (f"{HEAD}profile: {{name: m, scorers: [{{type: magic}}]}}\n".encode(), "scorers: there is no plugin `magic`"),
        (f"{HEAD}profile: {{name: m, scorers: [{{type: queue, weight: x}}]}}\n".encode(), "line 3: profile.scorers"),
        (b"\xff", "'utf-8' codec can't decode"),
        (b"#" * (MAX_BYTES + 1), f"it has more than {MAX_BYTES} bytes; make it shorter"),
    ],
)
def test_a_wrong_one_is_refused_with_its_name_the_field_and_what_to_do(
    tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}: .*{re.escape(why)}"):
        check_scheduling(file)


@pytest.mark.parametrize(("name", "why"), [("none", "is not there; "), (".", "is no file; ")])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UserError, match=f": {why}docs/scheduling.md"):
        check_scheduling(tmp_path / name)


def test_a_link_whose_file_goes_leaves_what_it_held_in_force_and_one_that_goes_itself_does_not(tmp_path: Path) -> None:
    file, link = tmp_path / "s.yaml", tmp_path / "link"
    file.write_text(f"{HEAD}profile: lmetric\n")
    link.symlink_to(file)
    profiles = profile_file(link)
    moved = file.rename(tmp_path / "t.yaml")
    assert not profiles.changed()
    assert (profiles.content.spec.name, profiles.usable) == ("lmetric", False)
    moved.rename(file)
    file.write_text(f"{HEAD}profile: dynamo\n")
    assert profiles.changed()
    assert (profiles.content.spec.name, profiles.usable) == ("dynamo", True)
    link.unlink()
    assert profiles.changed()
    assert (profiles.content.spec.name, profiles.usable) == ("default", True)
