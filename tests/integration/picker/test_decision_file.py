"""Decisions that a picker writes to a file, and `argosy why` reads from it."""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.picker_process import Client, PickerProcess, client_of, destination, picker_process
from harness.waiting import until

PROMPT = "words that nobody else may see"


@contextlib.asynccontextmanager
async def picker_with(store: str, folder: Path, *options: str) -> AsyncIterator[tuple[PickerProcess, Client]]:
    async with picker_process(store, folder, *options) as picker, client_of(picker.address) as client:
        yield picker, client


async def request(client: Client, number: str, *, model: str = "m") -> str:
    """Have a request picked and answered; gives who answered, or nothing where it is refused."""
    stream = client.stream()
    await stream.headers(x_request_id=number, authorization=f"Bearer {PROMPT}")
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    reply = await stream.body(json.dumps(body).encode())
    if reply.WhichOneof("response") == "immediate_response":
        return ""
    served = destination(reply).split(",")[0]
    await stream.response(served)
    await stream.end()
    return served


def why(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "argosy", "why", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


async def explained_live(picker: PickerProcess, number: str) -> Any:
    async with picker.page(f"/debug/decisions/{number}") as answer:
        return await answer.json()


async def test_what_a_file_explains_is_what_the_picker_explains_and_holds_no_word_of_a_prompt(
    store_address: str, tmp_path: Path
) -> None:
    path = tmp_path / "decisions.jsonl"
    options = ("--decisions-file", str(path), "--decisions-sample", "1")
    async with picker_with(store_address, tmp_path, *options) as (picker, client):
        served = await request(client, "first")
        await request(client, "second")
        await request(client, "refused", model="unknown")
        stream = client.stream()
        await stream.headers(x_request_id="under-way")
        await stream.body(b'{"model": "m"}')
        await until(lambda: lines_are(picker, "written", 3))
        live = {number: await explained_live(picker, number) for number in ("first", "second", "refused")}
        for number, said in live.items():
            found = why(number, "--file", str(path), "--json")
            assert found.returncode == 0, found.stderr
            assert json.loads(found.stdout) == said
        assert live["first"]["picked"] == served
        assert live["first"]["outcome"].startswith(f"answered by {served} after")
        missing = why("under-way", "--file", str(path))
        assert (missing.returncode, missing.stdout) == (1, "")
        assert await picker.end() == 0
    # Requests that were cut off are finished too, and what is put is written before the process ends.
    piped = why("under-way", "--file", "-", input=path.read_text())
    assert "ended without an answer of 2xx" in piped.stdout, piped.stderr
    assert PROMPT not in path.read_text()


async def lines_are(picker: PickerProcess, result: str, count: int) -> bool:
    return await picker.metric("argosy_decision_lines_total", result=result) == count


async def test_two_pickers_write_the_same_sample(store_address: str, tmp_path: Path) -> None:
    written = []
    for number in range(2):
        path = tmp_path / f"decisions-{number}.jsonl"
        options = ("--decisions-file", str(path), "--decisions-sample", "0.2")
        async with picker_with(store_address, tmp_path, *options) as (picker, client):
            for request_number in range(100):
                await request(client, f"request-{request_number}")
            assert await picker.end() == 0
        decisions = [json.loads(line) for line in path.read_text().splitlines()]
        written.append([each["record"]["request"] for each in decisions if each["line"] == "decision"])
    assert written[0] == written[1]
    assert 5 <= len(written[0]) <= 40


async def test_a_file_that_cannot_be_written_is_counted_and_requests_go_on(store_address: str, tmp_path: Path) -> None:
    options = ("--decisions-file", str(tmp_path / "no" / "such" / "folder"), "--decisions-sample", "1")
    async with picker_with(store_address, tmp_path, *options) as (picker, client):
        for number in range(3):
            assert await request(client, f"request-{number}")
        await until(lambda: lines_are(picker, "failed", 3))
        assert await request(client, "another")
        assert await picker.end() == 0


async def test_without_a_file_nothing_is_written(store_address: str, tmp_path: Path) -> None:
    async with picker_with(store_address, tmp_path) as (picker, client):
        await request(client, "first")
        assert await picker.metric("argosy_decision_lines_total") == 0


@pytest.mark.parametrize("options", [("--decisions-sample", "2"), ("--decisions-max-mb", "0")])
def test_a_share_or_a_size_that_is_none_is_a_wrong_command_line(options: tuple[str, str]) -> None:
    command = (sys.executable, "-m", "argosy", "picker", *options)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert options[0] in done.stderr
