"""`argosy why`: why a request went where it went."""

import argparse
import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argosy.cli.options import WHERE, add_place
from argosy.cli.places import Place, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from argosy.decide.scheduling.explanation import Candidate, Explanation

EPILOG = f"""examples:
  argosy why 5c872d3d-92d5-4f12-bef3-a29fa460b49d
  argosy why 5c872d3d-92d5-4f12-bef3-a29fa460b49d --file decisions.jsonl
exit codes: 0 explained; 1 nobody remembers it; 2 the command line is wrong
{WHERE}"""


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "why",
        help=summary,
        description="Makes a picker's decision once more from what it has kept of it, and shows the endpoints that "
        "could have served, what each was judged by, and those that could not. The id is the header x-request-id of "
        "the answer. A picker remembers some thousands of requests, until it ends; where it writes a file, a share of "
        "them is there for longer. No prompt is kept.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("request", metavar="REQUEST-ID", help="the answer's header x-request-id")
    parser.add_argument(
        "--file",
        metavar="PATH",
        help="ask no picker, but the file that one writes with --decisions-file; - is standard input",
    )
    parser.add_argument("--json", action="store_true", help="print the same for machines")
    add_place(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, and print."""
    explained = _look(args.file, args.request) if args.file else asyncio.run(_ask(place(args), args.request))
    if args.json:
        import msgspec  # noqa: PLC0415 (other verbs do without)

        print(msgspec.json.format(msgspec.json.encode(explained), indent=2).decode())
    else:
        _show(explained)
    return 0


def _look(file: str, request: str) -> "Explanation":
    from argosy.apps.fleet.why import why_in_file  # noqa: PLC0415

    return why_in_file(Path("/dev/stdin" if file == "-" else file), request)


async def _ask(found: Place, request: str) -> "Explanation":
    from argosy.apps.fleet.why import why  # noqa: PLC0415 (other verbs do without)

    async with found.open() as fleet:
        return await why(fleet, request)


def _show(explained: "Explanation") -> None:
    print(explained.sentence)
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(explained.at_s))
    model = f"model {explained.model}, " if explained.model else ""
    way = f"; {model}HTTPRoute {explained.route}, pool {explained.pool}" if explained.route else ""
    print(f"At {at}{way}; {explained.outcome}.")
    if explained.rewritten:
        rewritten = explained.rewritten
        print(
            f"It asks for model {rewritten.asked}, and {rewritten.served} serves it: spec.rules[{rewritten.rule}] of "
            f"InferenceModelRewrite {rewritten.by}."
        )
    if explained.prompt_blocks and explained.picked:
        print(
            f"Its prompt has {explained.prompt_blocks * 1.024:.1f} kB, of which the pick is taken to hold "
            f"{explained.prompt_matched * 1.024:.1f}; scheduling profile {explained.profile}."
        )
    if explained.candidates:
        print()
        _print_table(explained.candidates, explained.picked, explained.fallbacks)
    more = explained.eligible - len(explained.candidates)
    if more > 0 and explained.candidates:
        print(f"{more} more could have served, and were not looked at: they hold less of it, or have more to do.")
    for removed in explained.removed:
        rest = removed.count - len(removed.endpoints)
        also = f" and {rest} more" if rest else ""
        print(f"Removed, as {removed.why}: {', '.join(removed.endpoints)}{also}")
    if explained.prefill is not None and explained.prefill.candidates:
        prefill = explained.prefill
        reported = f"; its engine counted {prefill.prompt_tokens} tokens" if prefill.prompt_tokens else ""
        print(f"\nPrefill workers that could have computed the prompt{reported}:")
        _print_table(prefill.candidates, prefill.picked, ())


def _print_table(candidates: "Sequence[Candidate]", picked: str, fallbacks: "Sequence[str]") -> None:
    first = candidates[0]
    names = tuple(first.inputs)
    several = first.judgements if len(first.judgements) > 1 else ()
    scorers = (f"{each.scorer} x{each.weight:g}" for each in several)
    rows = [("", "endpoint", "cost", *scorers, *(name.replace("_", " ") for name in names))]
    for each in candidates:
        mark = "fallback" if each.endpoint in fallbacks else ""
        mark = "picked" if each.endpoint == picked else mark
        mark = f"{mark}, left out by {each.left_out_by}".removeprefix(", ") if each.left_out_by else mark
        costs = [each.cost, *(judged.cost * judged.weight for judged in each.judgements[: len(several)])]
        values = (*costs, *(each.inputs[name] for name in names))
        rows.append((mark, each.endpoint, *(f"{value:.4g}" for value in values)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
