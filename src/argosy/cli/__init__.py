"""The command line: one file per verb; the only code that prints, exits or reads the environment.

Each verb is a module with `register(subparsers)`, which adds its parser, and sets `run(args) -> int`. Modules of
other verbs are not imported when one runs: `argosy picker` in a pod pays for the picker alone.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from argosy.base.errors import NotNow, UserError

VERBS = {
    "up": "serve the models of FILE… on this machine",
    "down": "end what `argosy up` started",
    "apply": "add and change services, on a cluster or in a running instance",
    "diff": "say what applying FILE… would change",
    "delete": "remove services",
    "why": "say why a request went where it went",
    "why-not": "say why a service does not serve, and what to do",
    "status": "show services, replicas, health, requests and stand-ins",
    "chat": "talk to a model",
    "logs": "print what a replica or component wrote",
    "render": "print the Kubernetes objects of FILE…",
    "validate": "say whether FILE… is right, and what to change",
    "install": "put Argosy on a cluster, or bring it to this version",
    "uninstall": "take Argosy off a cluster",
    "completion": "print what completes commands in bash, zsh or fish",
    "version": "print the version",
    "engine": "(in pods) serve one model with llama.cpp",
    "operator": "(in pods) turn LLMServices into what serves them",
    "gateway": "(in pods) program Envoy from Gateway API objects",
    "envoy": "(in pods) run Envoy, and end it without cutting an answer",
    "picker": "(in pods) pick an endpoint for every request",
}

EXIT_CODES = """exit codes: 0 done; 1 what was asked for failed; 2 the command line or a file is wrong"""


def whole_parser(verbs: Iterable[str]) -> argparse.ArgumentParser:
    """Give the parser with all that these verbs take; `main` makes no more than the verb that it runs needs."""
    parser, subparsers = _parser()
    for name in verbs:
        register(name, subparsers)
    return parser


def register(verb: str, subparsers: Any) -> None:
    """Add a verb's parser."""
    importlib.import_module(f"argosy.cli.{verb.replace('-', '_')}").register(subparsers, VERBS[verb])


def _parser() -> tuple[argparse.ArgumentParser, Any]:
    parser = argparse.ArgumentParser(
        prog="argosy",
        description="Serves large language models on Kubernetes, and the same file on a laptop.",
        epilog=f"examples: argosy up examples/smollm2.yaml · argosy status --json · argosy chat\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser, parser.add_subparsers(dest="verb", required=True, metavar="VERB")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = argv[0] if argv and argv[0] in VERBS else None
    parser, subparsers = _parser()
    for name, summary in VERBS.items():
        if verb is None:
            subparsers.add_parser(name, help=summary)
        elif name == verb:
            register(name, subparsers)
    args = parser.parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except UserError as error:
        print(f"argosy {args.verb}: {error}", file=sys.stderr)
        return 1 if isinstance(error, NotNow) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough (`argosy status | head`); what is still buffered has no reader.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
