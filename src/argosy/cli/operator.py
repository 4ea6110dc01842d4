"""`argosy operator`: the process that turns LLMServices of a cluster into what serves them."""

import argparse
import os
import socket
from typing import Any

from argosy.api.names import METRICS_PORT
from argosy.cli.options import add_store, log_to_stderr, object_store

EXAMPLE = "example: argosy operator --store kubeconfig:///home/me/.kube/config --metrics-address 127.0.0.1:18090"


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "operator",
        help=summary,
        description="Turns LLMServices into Deployments, pools and routes, and says in their status what became of it. "
        "Of several operators one leads, by a Lease; the others wait.",
        epilog=EXAMPLE,
    )
    add_store(parser)
    parser.add_argument(
        "--metrics-address",
        default=f"0.0.0.0:{METRICS_PORT}",
        metavar="IP:PORT",
        help="where /metrics, /healthz and /readyz are served (%(default)s)",
    )
    parser.add_argument(
        "--identity",
        default=os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
        metavar="NAME",
        help="the name that the Lease carries while this process leads (default: $POD_NAME, else host and process)",
    )
    parser.add_argument(
        "--image-registry",
        default="",
        metavar="PREFIX",
        help="what comes before the names of engines' images, such as registry.example.com/team",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 1 when the lead was lost, which a fresh start mends."""
    from argosy.apps.operator.process import Settings, run_operator  # noqa: PLC0415
    from argosy.decide.planning.capabilities import Capabilities  # noqa: PLC0415

    log_to_stderr()
    capabilities = Capabilities(image_registry=args.image_registry)
    settings = Settings(identity=args.identity, metrics_address=args.metrics_address, capabilities=capabilities)
    return run_operator(lambda may_write: object_store(args.store, may_write), settings)
