"""`argosy why-not`: why a service does not serve, or the proof that it does."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from argosy.cli.options import WHERE, add_place
from argosy.cli.places import Place, place

if TYPE_CHECKING:
    from argosy.decide.planning.why_not import Verdict

_MARKS = {"right": "✓", "wrong": "✗", "unclear": "…"}


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "why-not",
        help=summary,
        description="Walks from what was asked for to the answer that a client gets: service, pods, pool, route, "
        "Gateway, Envoys, pickers. Names the first thing that is wrong, and what to do; where nothing is, asks for one "
        "token.",
        epilog="examples: argosy why-not smollm2 · argosy why-not team-a/chat · argosy why-not Qwen/Qwen3-32B\n"
        f"exit codes: 0 it serves; 1 it does not; 2 the command line is wrong\n{WHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "service",
        metavar="SERVICE",
        help="a service (NAME or NAMESPACE/NAME), a model name, or an HTTPRoute that leads to a pool",
    )
    parser.add_argument("--no-ask", action="store_true", help="look only; ask for no token")
    parser.add_argument("--json", action="store_true", help="print the same for machines")
    add_place(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, print, and say by the exit code whether it serves."""
    verdict = asyncio.run(_examine(place(args), args))
    if args.json:
        import msgspec  # noqa: PLC0415 (other verbs do without)

        print(msgspec.json.format(msgspec.json.encode(verdict), indent=2).decode())
    else:
        _print(verdict)
    return 0 if verdict.serves else 1


async def _examine(found: Place, args: argparse.Namespace) -> "Verdict":
    from argosy.apps.fleet.examine import examine  # noqa: PLC0415 (other verbs do without)

    async with found.open() as fleet:
        return await examine(fleet, args.service, ask=not args.no_ask)


def _print(verdict: "Verdict") -> None:
    print(verdict.sentence)
    first = next((each for each in verdict.findings if each.state == "wrong"), None)
    if first is not None and first.fix:
        print(f"  What to do: {first.fix}.")
    print()
    for each in verdict.findings:
        fix = f"  → {each.fix}" if each.fix and each is not first else ""
        print(f"  {_MARKS[each.state]} {each.sentence}{fix}")
