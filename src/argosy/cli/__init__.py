"""The command line: one file per verb; the only code that prints, exits or reads the environment.

Each verb is a module with `register(subparsers)`, which adds its parser, and sets `run(args) -> int`. Modules of
other verbs are not imported when one runs: `argosy picker` in a pod pays for the picker alone.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from argosy.base.errors import NotNow, UserError

VERBS = {
    "up": "serve the models of FILE… on this machine",
    "down": "end what `argosy up` started",
    "status": "show services, replicas, health, requests and stand-ins",
    "chat": "talk to a model",
    "logs": "print what a replica or component wrote",
    "render": "print the Kubernetes objects of FILE…",
    "validate": "say whether FILE… is right, and what to change",
    "version": "print the version",
    "engine": "(in pods) serve one model with llama.cpp",
    "gateway": "(in pods) program Envoy from Gateway API objects",
    "picker": "(in pods) pick an endpoint for every request",
}

EXIT_CODES = """exit codes: 0 done; 1 what was asked for failed; 2 the command line or a file is wrong"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = argv[0] if argv and argv[0] in VERBS else None
    parser = argparse.ArgumentParser(
        prog="argosy",
        description="Serves large language models on Kubernetes, and the same file on a laptop.",
        epilog=f"examples: argosy up examples/smollm2.yaml · argosy status --json · argosy chat\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, summary in VERBS.items():
        if verb is None:
            subparsers.add_parser(name, help=summary)
        elif name == verb:
            importlib.import_module(f"argosy.cli.{name}").register(subparsers, summary)
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
