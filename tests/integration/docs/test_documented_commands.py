"""Every code block of README.md and the guide does what it says.

A block begins with what `make up` leaves running; all blocks share that one instance. Ports and the path of `argosy`
are those of the test, all else is run as it is written. A block in a language without a runner fails.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.documents import Block, blocks
from harness.laptop import ROOT, Laptop, laptop

DOCUMENTS = ("README.md", "docs/guide.md")
PORT = 8080
START = ROOT / "examples" / "smollm2.yaml"
TARGETS = frozenset(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def of(*languages: str) -> pytest.MarkDecorator:
    chosen = [block for block in blocks(*DOCUMENTS) if block.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=[block.place for block in chosen])


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with laptop(tmp_path_factory.mktemp("d"), START) as running:
        yield running


def execute(command: list[str], instance: Laptop, *, typed: str = "") -> str:
    """Run a command as at the root of the repository, and give what it printed."""
    environment = os.environ | {"ARGOSY_STATE_DIR": str(instance.state)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input=typed, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_line(line: str, instance: Laptop) -> str:
    """Run one command of a sh block, and give what it printed."""
    words = shlex.split(line.replace(f":{PORT}", f":{instance.port}"), comments=True)
    match words:
        case [".venv/bin/argosy" | "argosy", *rest]:
            return execute([sys.executable, "-m", "argosy", *rest], instance, typed="What is a fleet?\n")
        case ["curl", *rest] if shutil.which("curl"):
            return execute(["curl", "--fail", "--silent", "--show-error", *rest], instance)
        case ["curl", *rest]:
            return ask(rest)
        case ["make", target] if target in TARGETS:
            return f"a run of make inside of make {target} would test the same"
    raise AssertionError(f"the test does not know how to run: {line}")


def ask(words: list[str]) -> str:
    """Do what curl would do with the arguments that the documents use."""
    url, headers, data = "", {}, None
    arguments = iter(words)
    for word in arguments:
        match word:
            case "-H":
                name, _, value = next(arguments).partition(": ")
                headers[name] = value
            case "-d":
                data = next(arguments).encode()
            case "-N":
                pass
            case _:
                assert word.startswith("http://"), word
                url = word
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=90) as answer:  # noqa: S310 (checked)
        return str(answer.read().decode())


def test_no_block_is_left_out() -> None:
    """Pictures in mermaid are drawn by whoever shows the page; every other language has a test here."""
    unknown = [block.place for block in blocks(*DOCUMENTS) if block.language not in {"mermaid", "yaml", "python", "sh"}]
    assert not unknown


@of("yaml")
def test_a_documented_file_is_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.yaml"
    file.write_text(block.text)
    execute([sys.executable, "-m", "argosy", "validate", str(file)], Laptop(tmp_path, 0))


@of("yaml")
def test_a_documented_file_that_names_an_example_is_that_example(block: Block) -> None:
    first, _, rest = block.text.partition("\n")
    if first.startswith("# examples/"):
        assert rest == (ROOT / first.removeprefix("# ")).read_text()


@of("python")
def test_documented_python_runs_and_prints_an_answer(block: Block, instance: Laptop) -> None:
    instance.up(START)
    text = block.text.replace(f":{PORT}", f":{instance.port}")
    assert execute([sys.executable, "-c", text], instance).strip()


@of("sh")
def test_documented_commands_succeed_and_print_something(block: Block, instance: Laptop) -> None:
    instance.up(START)
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            assert run_line(line, instance).strip(), line
