"""`argosy picker`: the process that picks an endpoint for every request."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from argosy.api.names import METRICS_PORT, PICKER_PORT
from argosy.cli.collector import collector
from argosy.cli.options import add_store, object_store, share

if TYPE_CHECKING:
    from argosy.apps.picker.decision_file import DecisionFile

EXAMPLES = """examples:
  argosy picker --store unix:///run/argosy/store.sock --address 127.9.0.2:9002 --metrics-address 127.9.0.2:9090"""


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "picker",
        help=summary,
        description="Serves Envoy's ext_proc: reads a request's model, picks an endpoint of its pool. "
        "Where $OTEL_EXPORTER_OTLP_ENDPOINT names a collector, a span of each sampled decision is sent to it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_store(parser)
    parser.add_argument(
        "--address", default=f"0.0.0.0:{PICKER_PORT}", metavar="IP:PORT", help="where ext_proc is served (%(default)s)"
    )
    parser.add_argument(
        "--metrics-address",
        default=f"0.0.0.0:{METRICS_PORT}",
        metavar="IP:PORT",
        help="where /metrics, /healthz and /readyz are served (%(default)s)",
    )
    parser.add_argument(
        "--tls-dir",
        metavar="DIR",
        help="serve ext_proc over TLS with tls.crt and tls.key of this folder, read again when they change "
        "(default: plain text)",
    )
    parser.add_argument(
        "--transport",
        choices=("http2", "grpcio"),
        default="http2",
        help="what serves ext_proc: Argosy's own HTTP/2, or grpcio at many times its cost (%(default)s)",
    )
    _add_decision_file(parser)
    parser.add_argument(
        "--scheduling",
        metavar="FILE",
        default="",
        help="a SchedulingConfig, read again when it changes (default: the profile `default`)",
    )
    parser.set_defaults(run=run)


def _add_decision_file(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("decisions in a file")
    group.add_argument(
        "--decisions-file",
        metavar="PATH",
        help="write decisions and their outcomes to this file, for argosy why --file; no prompts (default: none)",
    )
    group.add_argument(
        "--decisions-sample",
        type=share,
        default=0.01,
        metavar="SHARE",
        help="of which share of all requests, 0 to 1, by their ids, so that all pickers choose the same (%(default)s)",
    )
    group.add_argument(
        "--decisions-max-mb",
        type=_megabytes,
        default=64,
        metavar="MB",
        help="megabytes that the file and the three before it, PATH.1 the newest, have together (%(default)s)",
    )


def _megabytes(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of megabytes above 0")
    return int(text)


def decision_file(args: argparse.Namespace) -> "DecisionFile | None":
    """Give the file of decisions that the arguments ask for."""
    from argosy.apps.picker.decision_file import DecisionFile  # noqa: PLC0415

    if args.decisions_file is None:
        return None
    max_bytes = args.decisions_max_mb * 1_000_000
    return DecisionFile(path=args.decisions_file, share=args.decisions_sample, max_bytes=max_bytes)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from argosy.apps.picker.process import run_picker  # noqa: PLC0415 - other verbs do not pay for it
    from argosy.apps.picker.serve import Settings  # noqa: PLC0415

    opening = object_store(args.store)
    print(f"picker: ext_proc at {args.address}, metrics at {args.metrics_address}, store {args.store}", flush=True)
    settings = Settings(
        address=args.address,
        metrics_address=args.metrics_address,
        tls_folder=args.tls_dir,
        transport=args.transport,
        decision_file=decision_file(args),
        collector=collector(os.environ),
        scheduling=args.scheduling,
    )
    run_picker(opening, settings)
    return 0
