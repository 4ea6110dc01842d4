import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argosy.base.errors import UserError
from argosy.edge.telemetry.line_file import FILES, MAX_ABOUT, MAX_QUEUED, LineFile, lines_of, written
from harness.waiting import until

A, B = ["a"], ["b"]


class Written:
    """A file of numbered lines, and what was counted of them."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.file: LineFile[int, list[str]] = LineFile(
            path, max_bytes=max_bytes, encode=self._line, introduce=self._about, count=self._count
        )

    def files(self) -> list[Path]:
        return sorted(self.path.parent.iterdir())

    def lines(self) -> list[list[object]]:
        return [json.loads(line) for line in lines_of(self.path) if line.strip()]

    def numbers(self) -> list[object]:
        return [line[1] for line in self.lines() if line[0] == "line"]

    def _line(self, about: int, line: int) -> str:
        return json.dumps(["line", line, about])

    def _about(self, number: int, about: list[str]) -> str:
        return json.dumps(["about", about[0], number])

    def _count(self, result: str, count: int) -> None:
        self.counts[result] += count


@asynccontextmanager
async def file_at(path: Path, max_bytes: int = 1_000_000) -> AsyncIterator[Written]:
    made = Written(path, max_bytes)
    async with written(made.file):
        yield made


async def test_lines_stand_in_order_after_what_they_are_about_which_is_there_once(tmp_path: Path) -> None:
    async with file_at(tmp_path / "f") as made:
        for number, about in enumerate((A, A, B, A)):
            made.file.put(number, about)
    assert made.lines() == [
        ["about", "a", 1],
        ["line", 0, 1],
        ["line", 1, 1],
        ["about", "b", 2],
        ["line", 2, 2],
        ["line", 3, 1],
    ]
    assert made.counts == {"written": 4, "failed": 0}


async def test_lines_are_written_while_it_is_open(tmp_path: Path) -> None:
    async with file_at(tmp_path / "f") as made:
        made.file.put(0, A)
        await until(lambda: made.counts["written"] == 1)
        made.file.put(1, A)
        await until(lambda: made.counts["written"] == 2)
        assert made.numbers() == [0, 1]


async def test_files_are_bounded_in_size_and_number_and_each_stands_by_itself(tmp_path: Path) -> None:
    max_bytes = 4000
    async with file_at(tmp_path / "f", max_bytes) as made:
        for number in range(1000):
            made.file.put(number, A)
    found = made.files()
    assert [path.name for path in found] == ["f", *(f"f.{number}" for number in range(1, FILES))]
    assert all(path.stat().st_size <= max_bytes / FILES for path in found)
    for path in found:
        about, line, *_ = map(json.loads, path.read_text().splitlines())
        assert about[0] == "about"
        assert line[2] == about[2]
    newest = made.numbers()
    assert newest == list(range(1000 - len(newest), 1000))
    assert made.counts["written"] == 1000


async def test_a_line_above_the_bound_is_written_alone(tmp_path: Path) -> None:
    async with file_at(tmp_path / "f", 40) as made:
        for number in range(3):
            made.file.put(number, A)
    assert made.numbers() == [0, 1, 2]
    assert all(len(path.read_text().splitlines()) == 2 for path in made.files())


async def test_what_finds_the_queue_full_is_dropped_and_counted(tmp_path: Path) -> None:
    async with file_at(tmp_path / "f") as made:
        for number in range(MAX_QUEUED + 7):
            made.file.put(number, A)
    assert made.counts == {"dropped": 7, "written": MAX_QUEUED, "failed": 0}
    assert made.numbers() == list(range(MAX_QUEUED))


async def test_as_many_things_as_one_likes_can_be_written_about(tmp_path: Path) -> None:
    async with file_at(tmp_path / "f") as made:
        for number in range(3 * MAX_ABOUT):
            made.file.put(number, [str(number)])
    known = {}
    for kind, value, number in made.lines():
        if kind == "about":
            known[number] = value
        else:
            assert known[number] == str(value)


async def test_a_line_that_an_earlier_process_left_unfinished_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('["line", 1')
    async with file_at(tmp_path / "f") as made:
        made.file.put(5, A)
    assert (tmp_path / "f").read_text().splitlines() == ['["line", 1', '["about", "a", 1]', '["line", 5, 1]']


async def test_a_file_that_cannot_be_written_is_counted_until_it_can_be_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    async with file_at(folder / "f") as made:
        made.file.put(0, A)
        made.file.put(1, A)
        await until(lambda: made.counts["failed"] == 2)
        folder.mkdir()
        made.file.put(2, A)
    assert made.counts == {"failed": 2, "written": 1}
    assert made.lines() == [["about", "a", 3], ["line", 2, 3]]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
async def test_a_full_disk_is_counted_and_nothing_is_kept_for_it(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to("/dev/full")
    async with file_at(tmp_path / "f") as made:
        for number in range(3):
            made.file.put(number, A)
    assert made.counts == {"failed": 3, "written": 0}


async def test_files_that_may_not_be_moved_aside_do_not_grow(tmp_path: Path) -> None:
    (tmp_path / "f.1").mkdir()
    (tmp_path / "f.1" / "occupied").touch()
    (tmp_path / "f.2").mkdir()
    (tmp_path / "f.2" / "occupied").touch()
    (tmp_path / "f.3").mkdir()
    async with file_at(tmp_path / "f", 400) as made:
        for number in range(100):
            made.file.put(number, A)
    assert made.counts["failed"] > 50
    assert (tmp_path / "f").stat().st_size <= 100


def test_a_file_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        list(lines_of(tmp_path / "nothing"))
