"""`argosy diff`: what applying files would change, object by object and field by field."""

import argparse
import asyncio
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from argosy.base.errors import NotNow, UserError
from argosy.cli.options import WHERE, add_files, add_place, files_of
from argosy.cli.places import Place, place_for_files

if TYPE_CHECKING:
    from argosy.decide.planning.differences import Difference

EXAMPLES = """examples:
  argosy diff -f service.yaml
  argosy diff services/*.yaml --context prod --brief"""
_COLOURS = {"+": "32", "-": "31", "@": "36"}


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "diff",
        help=summary,
        description="Says what `argosy apply` of the same files would change: of the services, and of the objects that "
        "are made for them. Changes nothing. Fields that a server adds, or that others own, are no difference.",
        epilog=f"{EXAMPLES}\nexit codes: 0 nothing would change; 1 something would; 2 it cannot be said\n{WHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_files(parser)
    parser.add_argument("--brief", action="store_true", help="name the objects, not their fields")
    parser.add_argument(
        "--force-conflicts", action="store_true", help="as if fields were taken over that others have applied otherwise"
    )
    add_place(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the differences; 1 when there are some."""
    try:
        files = files_of(args)
        differences = asyncio.run(_differences(args, files, place_for_files(args, files)))
    except NotNow as error:
        raise UserError(str(error)) from error  # 1 says that something would change
    _print(differences, brief=args.brief)
    return 1 if differences else 0


async def _differences(args: argparse.Namespace, files: list[str], found: Place) -> "tuple[Difference, ...]":
    from argosy.apps.fleet.compare import compare  # noqa: PLC0415 (other verbs do without)
    from argosy.cli.files import ground_of, load_for  # noqa: PLC0415

    reading = load_for(args, found, files)
    capabilities, weights = ground_of(reading, here=not found.on_cluster, engine=found.engine)
    async with found.open() as fleet:
        compared = await compare(fleet, reading, capabilities=capabilities, weights=weights, force=args.force_conflicts)
    for note in compared.notes:
        print(f"argosy diff: {note}", file=sys.stderr)
    return compared.differences


def _print(differences: "Iterable[Difference]", *, brief: bool) -> None:
    coloured = sys.stdout.isatty()
    for each in differences:
        print(f"{each.verb} {each.kind} {each.key}")
        for line in () if brief else each.lines():
            colour = _COLOURS.get(line[:1]) if coloured and not line.startswith(("+++", "---")) else None
            print(f"\x1b[{colour}m{line}\x1b[0m" if colour else line)
