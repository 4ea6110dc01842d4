"""`argosy install`: puts Argosy on a cluster, or brings what is there to this version."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from argosy.api.names import GATEWAY_PORT, SYSTEM_NAMESPACE
from argosy.base.errors import NotNow, PeerError, UserError
from argosy.cli.options import add_cluster, share
from argosy.cli.places import cluster

if TYPE_CHECKING:
    from argosy.cli.places import Place
    from argosy.decide.planning.installation import Installation

EXAMPLES = """examples:
  argosy install
  argosy install --context staging --image-registry registry.example.com/team --port 80
  argosy install --dry-run > argosy.yaml"""
MAX_PORT = 65535
TIMEOUT_S = 300


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "install",
        help=summary,
        description="Installs the operator, gateways and pickers in namespace argosy-system, and the kinds that they "
        "need. Everything is checked before anything is written. Running it again is an upgrade.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    add_settings(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the objects as YAML, and ask no cluster")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until everything runs")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="S", help="seconds to wait until all runs (%(default)s)"
    )
    parser.set_defaults(run=run)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what a person may choose of an installation."""
    parser.add_argument("--port", type=int, default=GATEWAY_PORT, help="where the Gateway takes requests (%(default)s)")
    parser.add_argument(
        "--service-type",
        choices=("LoadBalancer", "NodePort", "ClusterIP"),
        default="LoadBalancer",
        help="the type of the Service before a Gateway's Envoys (%(default)s)",
    )
    parser.add_argument(
        "--replicas",
        type=int,
        default=2,
        metavar="N",
        help="operators, gateways, pickers, and Envoys of each Gateway (%(default)s)",
    )
    parser.add_argument(
        "--image-registry",
        default="",
        metavar="PREFIX",
        help="what comes before the names of images, such as registry.example.com/team",
    )
    parser.add_argument(
        "--otlp-endpoint",
        default="",
        metavar="URL",
        help="an OpenTelemetry collector that Envoys and pickers send spans to, such as http://collector.tracing:4318",
    )
    parser.add_argument(
        "--trace-share",
        type=share,
        default=1.0,
        metavar="SHARE",
        help="the share of requests without a trace of their own that begin one, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--decisions-share",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="of which share of all requests, 0 to 1, pickers write decisions to a file (%(default)s)",
    )


def installation_of(args: argparse.Namespace) -> "Installation":
    """Give the installation that the arguments ask for. Raises `UserError`."""
    from argosy.decide.planning.components import OnCluster  # noqa: PLC0415 - other verbs do not pay for it
    from argosy.decide.planning.installation import Installation  # noqa: PLC0415

    if not 0 < args.port <= MAX_PORT:
        raise UserError(f"--port {args.port} is no port; write a number from 1 to {MAX_PORT}")
    if args.replicas < 1:
        raise UserError(f"--replicas {args.replicas}: there must be one at least")
    if args.otlp_endpoint and not args.otlp_endpoint.startswith("http://"):
        raise UserError(f"--otlp-endpoint {args.otlp_endpoint}: Envoys send spans to http:// alone")
    place = OnCluster(
        replicas=args.replicas,
        service_type=args.service_type,
        image_registry=args.image_registry,
        collector=args.otlp_endpoint,
        traced_share=args.trace_share,
        decisions_share=args.decisions_share,
    )
    return Installation(port=args.port, cluster=place)


def run(args: argparse.Namespace) -> int:
    """Install. Gives 0 when all runs, or is written where nobody waits."""
    installation = installation_of(args)
    if args.dry_run:
        return print_objects(installation)
    place = cluster(args)
    print(f"installing Argosy at {place.name}", flush=True)
    return failing_plainly(lambda: asyncio.run(_install(args, place, installation)), place)


def print_objects(installation: "Installation") -> int:
    """Print all objects of an installation."""
    import yaml  # noqa: PLC0415

    from argosy.api.objects import encode  # noqa: PLC0415
    from argosy.apps.install.checks import all_definitions  # noqa: PLC0415
    from argosy.decide.planning.installation import installation_objects  # noqa: PLC0415

    objects = [encode(obj) for obj in (*all_definitions(), *installation_objects(installation))]
    yaml.safe_dump_all(objects, sys.stdout, sort_keys=False, allow_unicode=True, width=120)
    return 0


def failing_plainly(work: Callable[[], None], place: "Place") -> int:
    """Do the work; say what a cluster refuses, or that it is not there, as a person can use it."""
    from argosy.edge.kube.port import StoreUnavailable, Withheld  # noqa: PLC0415

    try:
        work()
    except Withheld as error:
        raise NotNow(f"{place.name}: {error}; it takes the rights of the cluster's administrator") from error
    except StoreUnavailable as error:
        raise NotNow(f"{place.name}: {error}; is the context right, and the network there?") from error
    except PeerError as error:
        raise NotNow(f"{place.name}: {error}; run it again when that is mended") from error
    return 0


async def _install(args: argparse.Namespace, place: "Place", installation: "Installation") -> None:
    from argosy.apps.install.checks import prepared  # noqa: PLC0415
    from argosy.apps.install.install import gateway_service, install, until_available  # noqa: PLC0415
    from argosy.edge.kube.api_server import KubernetesStore  # noqa: PLC0415

    assert place.settings is not None  # noqa: S101 - `cluster` gives no other
    report = reporting()
    preparation = await prepared(place.settings, installation)
    report(f"checked: {len(preparation.objects)} objects, Kubernetes {'.'.join(map(str, preparation.version))}")
    async with KubernetesStore(place.settings) as store:
        await install(store, preparation, report)
        if args.no_wait:
            print(f"written; watch it come up with: kubectl get pods -n {SYSTEM_NAMESPACE} --watch")
            return
        await until_available(store, preparation.objects, report, timeout_s=args.timeout)
        service = await gateway_service(store)
    print("Argosy is installed. Next:")
    print("  kubectl apply -f service.yaml      # an LLMService; `argosy render` shows what becomes of it")
    print("  kubectl get llm --watch")
    if service:
        print(f"  kubectl get service {service} -n {SYSTEM_NAMESPACE}   # where clients reach it, port {args.port}")


def reporting() -> Callable[[str], None]:
    """Give what prints a line with the seconds since now."""
    begun = time.monotonic()

    def report(line: str) -> None:
        print(f"  {time.monotonic() - begun:5.1f} s  {line}", flush=True)

    return report
