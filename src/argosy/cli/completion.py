"""`argosy completion`: what completes commands in a shell, made from the parsers of all verbs.

Rules of this file:

- Verbs, options and files are in the script itself. Names of services and contexts are asked for when they are wanted,
  by `argosy completion --names`, which says nothing on standard error and gives up soon.
"""

import argparse
import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from argosy.base.errors import ArgosyError, UserError
from argosy.cli.options import add_place
from argosy.cli.places import kubeconfig_files, place

SHELLS: Final = ("bash", "zsh", "fish")
NAMES: Final = ("services", "contexts")
GIVE_UP_S: Final = 3.0
EXAMPLES = """examples:
  argosy completion bash > ~/.local/share/bash-completion/completions/argosy
  argosy completion zsh > "${fpath[1]}/_argosy"
  argosy completion fish > ~/.config/fish/completions/argosy.fish
  source <(argosy completion bash)      # for this shell alone"""
_BY_METAVAR: Final = {"FILE": "file", "DIR": "directory", "SERVICE": "services", "CONTEXT": "contexts"}


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "completion",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}: verbs, options, files, and the names of services.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="the shell: bash, zsh or fish")
    parser.add_argument("--names", choices=NAMES, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script of a shell, or names."""
    if args.names is not None:
        with contextlib.suppress(ArgosyError, TimeoutError):
            print("\n".join(_contexts() if args.names == "contexts" else asyncio.run(_services())))
        return 0
    print(script(args.shell or Path(os.environ.get("SHELL", "bash")).name))
    return 0


def script(shell: str) -> str:
    """Give what completes commands in a shell. Raises UserError for one that it is not made for."""
    import shtab  # noqa: PLC0415 (other verbs do without)

    from argosy.cli import VERBS, whole_parser  # noqa: PLC0415 (it imports this file)

    if shell not in SHELLS:
        raise UserError(f"no completion is made for {shell}; name one of {', '.join(SHELLS)}")
    parser = whole_parser(verb for verb, summary in VERBS.items() if not summary.startswith("(in pods)"))
    completers = {"file": shtab.FILE, "directory": shtab.DIRECTORY}
    completers |= {names: _asked(names, shtab.cmd) for names in NAMES}
    for action in _actions(parser):
        kind = _BY_METAVAR.get(str(action.metavar))
        if kind is not None and action.nargs != 0:
            vars(action)["complete"] = completers[kind]  # shtab looks for it there
    return str(shtab.complete(parser, shell=shell))


def _asked(names: str, cmd: Callable[[str], Any]) -> dict[str, Any]:
    """Give what asks for names when they are wanted. shtab's own way for zsh asks once, when the shell starts."""
    command = f"argosy completion --names {names} 2>/dev/null"
    found: dict[str, Any] = cmd(command)
    function = f"_argosy_{names}"
    zsh = f'{function}() {{\n  local -a names=(${{(f)"$({command})"}})\n  compadd -a names\n}}'
    return {**found, "zsh": function, "preamble": {**found["preamble"], "zsh": zsh}}


def _actions(parser: argparse.ArgumentParser) -> "list[argparse.Action]":
    """Give all that a parser and those below it take; the latter are described in a few words from here on."""
    from argosy.cli import VERBS  # noqa: PLC0415 (it imports this file)

    found: list[argparse.Action] = []
    for action in parser._actions:  # noqa: SLF001 (argparse has no other way to ask)
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for verb, below in action.choices.items():
                below.description = VERBS[verb]  # a menu has room for no more
                found += _actions(below)
    return found


def _contexts() -> list[str]:
    from argosy.edge.kube.kubeconfig import read_kubeconfigs  # noqa: PLC0415

    kubeconfig = read_kubeconfigs(kubeconfig_files(None, os.environ))
    return list(kubeconfig.contexts) if kubeconfig is not None else []


async def _services() -> list[str]:
    """Give the names of services where verbs would look for them: bare within the namespace there, else with theirs."""
    from argosy.api.llmservice import StoredService  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    add_place(parser)
    found = place(parser.parse_args([]), quiet=True)
    async with asyncio.timeout(GIVE_UP_S), found.open() as fleet:
        listed = (await fleet.store.list(StoredService, namespace=fleet.namespace)).items
    here = found.namespace or "default"
    return [each.metadata.name if each.metadata.namespace == here else str(each.key) for each in listed]
