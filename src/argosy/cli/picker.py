"""`argosy picker`: the process that picks an endpoint for every request."""

import argparse
from typing import Any

from argosy.api.names import METRICS_PORT, PICKER_PORT
from argosy.cli.options import add_store, object_store

EXAMPLES = """examples:
  argosy picker --store unix:///run/argosy/store.sock --address 127.9.0.2:9002 --metrics-address 127.9.0.2:9090"""


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "picker",
        help=summary,
        description="Serves Envoy's ext_proc: reads a request's model, picks an endpoint of its pool.",
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from argosy.apps.picker.process import run_picker  # noqa: PLC0415 - other verbs do not pay for it
    from argosy.apps.picker.serve import Settings  # noqa: PLC0415

    opening = object_store(args.store)
    print(f"picker: ext_proc at {args.address}, metrics at {args.metrics_address}, store {args.store}", flush=True)
    run_picker(opening, Settings(address=args.address, metrics_address=args.metrics_address))
    return 0
