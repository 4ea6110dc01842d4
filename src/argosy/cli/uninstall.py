"""`argosy uninstall`: takes Argosy off a cluster."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from argosy.cli.install import TIMEOUT_S, failing_plainly, reporting
from argosy.cli.options import add_cluster
from argosy.cli.places import cluster

if TYPE_CHECKING:
    from argosy.cli.places import Place

EXAMPLES = """examples:
  argosy uninstall
  argosy uninstall --context staging --with-services --crds"""


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "uninstall",
        help=summary,
        description="Removes what `argosy install` and the processes that it started have made, and waits until it is "
        "gone. A run that was broken off is finished by the next.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster(parser)
    parser.add_argument(
        "--with-services",
        action="store_true",
        help="delete all LLMServices first; without it they are a reason to stop",
    )
    parser.add_argument(
        "--crds",
        action="store_true",
        help="remove the CRDs of the Gateway API and the Inference Extension too, where install brought them and "
        "nobody has an object of them",
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="S", help="seconds that each wait may take (%(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Uninstall. Gives 0 when nothing of Argosy is left."""
    place = cluster(args)
    print(f"removing Argosy from {place.name}", flush=True)
    return failing_plainly(lambda: asyncio.run(_uninstall(args, place)), place)


async def _uninstall(args: argparse.Namespace, place: "Place") -> None:
    from argosy.apps.install.checks import refuse_helm  # noqa: PLC0415 - other verbs do not pay for it
    from argosy.apps.install.uninstall import Removal  # noqa: PLC0415
    from argosy.edge.clock import rfc3339_now  # noqa: PLC0415
    from argosy.edge.kube.api_server import KubernetesStore  # noqa: PLC0415

    assert place.settings is not None  # noqa: S101 - `cluster` gives no other
    async with KubernetesStore(place.settings) as store:
        await refuse_helm(store, "helm uninstall")
        removal = Removal(store, reporting(), timeout_s=args.timeout, now=rfc3339_now)
        await removal.run(with_services=args.with_services, with_definitions=args.crds)
    print("nothing of Argosy is left" if args.crds else "nothing of Argosy is left; published CRDs stay (--crds)")
