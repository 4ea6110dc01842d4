"""`argosy render`: the Kubernetes objects of files, as YAML."""

import argparse
import sys
from typing import Any

from argosy.base.errors import UserError

EXAMPLES = """examples:
  argosy render examples/smollm2.yaml
  argosy render examples/smollm2.yaml --strict | kubectl apply --dry-run=server -f -
  argosy render --crd | kubectl apply -f -"""
MAX_PORT = 65535


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "render",
        help=summary,
        description="Prints the Kubernetes objects of the services in files as YAML, as the operator makes them; "
        "stand-ins go to standard error. What an installation on a cluster is made of: argosy install --dry-run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="YAML or JSON with LLMServices; - is standard input")
    parser.add_argument("--strict", action="store_true", help="refuse instead of giving stand-ins")
    parser.add_argument("--crd", action="store_true", help="print the CustomResourceDefinition of LLMService (first)")
    parser.add_argument(
        "--laptop", action="store_true", help="print the gateway and picker that argosy up runs beside them (first)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="with --laptop: the port of the Gateway's listener (%(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the objects."""
    import yaml  # noqa: PLC0415 - other verbs do not pay for it

    from argosy.api.crd import crd  # noqa: PLC0415
    from argosy.api.objects import encode  # noqa: PLC0415
    from argosy.cli.files import by_name, load_files, refuse_stand_ins, stand_in_table, weights_of  # noqa: PLC0415
    from argosy.decide.planning.capabilities import CLUSTER  # noqa: PLC0415
    from argosy.decide.planning.installation import Installation, installation_objects  # noqa: PLC0415
    from argosy.decide.planning.plan import plan  # noqa: PLC0415

    if not args.files and not args.crd:
        raise UserError("no file; name one, such as examples/smollm2.yaml, or give --crd")
    if not 0 < args.port <= MAX_PORT:
        raise UserError(f"--port {args.port} is no port; write a number from 1 to {MAX_PORT}")
    objects = [crd()] if args.crd else []
    if args.files:
        reading = load_files(args.files)
        services = reading.services
        weights = weights_of(reading, CLUSTER, absent_ok=True)
        installation = Installation(port=args.port)
        planned = plan(services, installation=installation, weights=weights)
        if args.strict:
            refuse_stand_ins(planned.stand_ins)
        table = stand_in_table(by_name(planned.stand_ins))
        if table:
            print(table, file=sys.stderr)
        laptop = {(obj.KIND, obj.key) for obj in installation_objects(installation)}
        objects.extend(encode(obj) for obj in planned.objects if args.laptop or (obj.KIND, obj.key) not in laptop)
    yaml.safe_dump_all(objects, sys.stdout, sort_keys=False, allow_unicode=True, width=120)
    return 0
