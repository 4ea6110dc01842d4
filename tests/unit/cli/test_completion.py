"""What the shells themselves make of `argosy completion`; those that this machine has are tried."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.api.llmservice import LLMService
from argosy.cli import main
from harness.served_store import ServedStore, served_store
from harness.specs import service


def here(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"the command {shell} is needed (Debian: {shell})")


ASKED = [pytest.param(shell, marks=here(shell)) for shell in ("bash", "fish")]
"""Shells that can be asked without a terminal; zsh can only be asked to read the script."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedStore]:
    with served_store(tmp_path / "store.sock") as served:
        monkeypatch.setenv("ARGOSY_STORE", served.address)
        yield served


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with `argosy` on PATH, a file, and a kubeconfig of two contexts."""
    program = tmp_path / "bin" / "argosy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m argosy "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "service.yaml").touch()
    contexts = [{"name": name, "context": {"cluster": "c"}} for name in ("prod", "proof")]
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps({"clusters": [], "contexts": contexts}))
    monkeypatch.setenv("KUBECONFIG", str(config))
    return tmp_path


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def completed(shell: str, path: Path, *words: str) -> set[str]:
    """Give what the shell offers for the last of the words."""
    if shell == "fish":
        program = f"source {path}; complete -C {shlex.quote(shlex.join(words[:-1]) + ' ' + words[-1])}"
        command = ["fish", "--no-config", "-c", program]
    else:
        program = (
            f"source {path}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_argosy; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        command = ["bash", "--norc", "-c", program]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=60, check=True)
    return {line.partition("\t")[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("shell", ASKED)
def test_verbs_options_files_and_names_are_completed(
    shell: str, machine: Path, store: ServedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(shell, machine, capsys)
    assert completed(shell, path, "argosy", "st") == {"status"}
    verbs = completed(shell, path, "argosy", "")
    assert {"up", "apply", "why-not", "completion"} <= verbs
    assert "engine" not in verbs
    assert completed(shell, path, "argosy", "apply", "--force-c") == {"--force-conflicts"}
    assert completed(shell, path, "argosy", "apply", "serv") == {"service.yaml"}
    assert completed(shell, path, "argosy", "diff", "-f", "serv") == {"service.yaml"}
    for one in (service(name="smol"), service(name="large")):
        store.do(store.store.apply(one, owner="user"))
    assert completed(shell, path, "argosy", "why-not", "s") == {"smol"}
    assert completed(shell, path, "argosy", "delete", "smol", "l") == {"large"}
    assert completed(shell, path, "argosy", "status", "--context", "pro") == {"prod", "proof"}
    assert completed(shell, path, "argosy", "completion", "f") == {"fish"}


@here("zsh")
def test_zsh_reads_the_script_and_knows_whose_it_is(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("zsh", machine, capsys)
    # zsh's own compdef comes with all of its completion, which takes seconds to load; names are added by compadd.
    stand_ins = 'compdef() { print compdef "$@" }; compadd() { print $names }'
    asked = (
        f'{stand_ins}; eval "$(<{path})"; whence -w _shtab_argosy; _argosy_contexts; print $_shtab_argosy_logs_options'
    )
    done = subprocess.run(["zsh", "-f", "-c", asked], capture_output=True, text=True, timeout=60, check=True)  # noqa: S607
    registered, function, contexts, options = done.stdout.splitlines()
    assert (registered, function) == ("compdef _shtab_argosy -N argosy", "_shtab_argosy: function")
    assert contexts == "prod proof"
    assert "--follow" in options
    assert options.endswith(":_argosy_services")


def test_names_are_never_an_error(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.exists()
    assert main(["completion", "--names", "services", "bash"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_services_of_other_namespaces_carry_theirs(store: ServedStore, capsys: pytest.CaptureFixture[str]) -> None:
    for one in (service(name="a"), service(name="b", namespace="team")):
        store.do(store.store.apply(one, owner="user"))
    assert store.do(store.store.list(LLMService)).items
    assert main(["completion", "--names", "services"]) == 0
    assert capsys.readouterr().out == "a\nteam/b\n"


def test_the_shell_is_that_of_the_environment_and_one_that_is_not_known_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert main(["completion"]) == 0
    assert "complete -c argosy" in capsys.readouterr().out
    monkeypatch.setenv("SHELL", "/usr/bin/nu")
    assert main(["completion"]) == 2
    assert "no completion is made for nu; name one of bash, zsh, fish" in capsys.readouterr().err
