import os
from pathlib import Path

from argosy.edge.processes.logfile import LogFile


def write(log: LogFile, text: str) -> None:
    descriptor = log.open()
    os.write(descriptor, text.encode())
    os.close(descriptor)


def test_a_log_above_its_bound_is_moved_aside_and_its_writer_goes_on_at_the_start(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=100)
    descriptor = log.open()
    os.write(descriptor, b"x" * 101)
    log.bound()
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert log.path.read_text() == "after\n"
    assert (tmp_path / "a.log.1").read_text() == "x" * 101


def test_a_log_within_its_bound_stays(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=100)
    log.bound()
    write(log, "x" * 100)
    log.bound()
    assert log.size == 100
    assert not (tmp_path / "a.log.1").exists()


def test_the_tail_is_of_the_last_run_alone(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    assert log.tail() == ""
    write(log, "of the run before\n")
    begin = log.size
    assert log.tail(since=begin) == ""
    write(log, "one\n\ntwo\nthree\nfour\n")
    assert log.tail(since=begin) == "two | three | four"
    assert log.tail(since=10_000) == "two | three | four"


def test_what_is_no_text_is_shown_all_the_same(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    log.path.write_bytes(b"\xff\xfe\n" + b"y" * 100_000)
    assert len(log.tail()) <= 4096


def test_an_ordinary_disk_is_not_full(tmp_path: Path) -> None:
    assert not LogFile(tmp_path / "a.log").disk_full
