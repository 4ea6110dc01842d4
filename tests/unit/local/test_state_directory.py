"""The state directory: one supervisor at a time, and clear words when it cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.apps.local.state import StateDirectory
from argosy.base.errors import UserError


def test_the_lock_has_one_holder_and_names_it(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.supervisor_pid() is None
    held = state.acquire()
    assert held is not None
    assert state.acquire() is None
    assert state.supervisor_pid() == os.getpid()
    held.close()
    assert state.supervisor_pid() is None


def test_a_lock_does_not_outlive_its_holder(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from argosy.apps.local.state import StateDirectory;"
        "held = StateDirectory(pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert StateDirectory(tmp_path).supervisor_pid() == holder.pid
        holder.kill()
    assert StateDirectory(tmp_path).supervisor_pid() is None


def test_a_path_too_long_for_a_socket_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--state-dir"):
        StateDirectory(tmp_path / ("x" * 120)).prepare()


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot use"):
        StateDirectory(tmp_path / "file").prepare()


def test_a_lock_is_handed_over_to_a_child_without_a_gap(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    held = state.acquire()
    assert held is not None
    code = (
        "import sys, pathlib; from argosy.apps.local.state import StateDirectory;"
        "held = StateDirectory(pathlib.Path(sys.argv[1])).take_over(int(sys.argv[2])); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(held.fileno())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[held.fileno()]) as child:
        state.hand_over(held, child.pid)
        assert state.supervisor_pid() == child.pid
        assert state.acquire() is None
        child.kill()
    assert state.supervisor_pid() is None


def test_the_picker_schedules_by_the_file_that_was_named_last_or_by_none(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.schedule_by(None)
    assert not state.scheduling.exists()
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        state.schedule_by(tmp_path / name)
        assert state.scheduling.read_text() == name
    state.schedule_by(None)
    assert not state.scheduling.is_symlink()
    assert (tmp_path / "two").exists()
    with pytest.raises(UserError, match="choose another folder"):
        StateDirectory(tmp_path / "one").schedule_by(tmp_path / "two")
