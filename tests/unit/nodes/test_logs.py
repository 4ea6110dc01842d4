from pathlib import Path

import pytest

from harness.node.logs import start_of_tail

TEXT = b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("lines", "start", "end", "expected"),
    [
        (1, 0, None, b"three\n"),
        (2, 0, None, b"two\nthree\n"),
        (9, 0, None, TEXT),
        (9, 4, None, b"two\nthree\n"),
        (1, 0, 8, b"two\n"),
        (0, 0, None, b""),
        (-1, 0, None, TEXT),
    ],
)
def test_a_tail_is_the_last_lines_of_a_part(
    tmp_path: Path, lines: int, start: int, end: int | None, expected: bytes
) -> None:
    path = tmp_path / "log"
    path.write_bytes(TEXT)
    assert TEXT[start_of_tail(path, start, end, lines) : end] == expected


def test_a_line_that_is_still_written_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo")
    assert start_of_tail(path, 0, None, 1) == 4
