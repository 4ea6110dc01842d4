"""`argosy validate`: whether files are right, and what to change."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from argosy.cli.options import add_files, add_place, files_of
from argosy.cli.places import Place, names_a_place, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from argosy.api.files import Reading
    from argosy.decide.planning.stand_ins import ServedRole

EXAMPLES = """examples:
  argosy validate examples/smollm2.yaml
  argosy validate services/*.yaml --strict
  argosy validate -f service.yaml --context prod"""


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "validate",
        help=summary,
        description="Reads LLMService files together and names every problem with file, line, field and fix. "
        "Weights that are on this machine are checked too. Where a cluster is named, that is asked as well whether it "
        "would take them; nothing is written. Exit code 2 when something is wrong.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_files(parser)
    parser.add_argument("--strict", action="store_true", help="refuse stand-ins as well")
    add_place(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line for each service, and the stand-ins that this machine would give."""
    from argosy.cli.files import load_files, load_for  # noqa: PLC0415 - other verbs do not pay for it

    files = files_of(args)
    if not names_a_place(args):
        _show(load_files(files), strict=args.strict)
        return 0
    found = place(args)
    reading = load_for(args, found, files)
    _show(reading, strict=args.strict)
    asyncio.run(_rehearse(found, reading))
    print(f"{found.name}: would take {'it' if len(reading.services) == 1 else 'them'}")
    return 0


def _show(reading: "Reading", *, strict: bool) -> None:
    from argosy.cli.files import by_name, laptop, refuse_stand_ins, stand_in_table, weights_of  # noqa: PLC0415
    from argosy.decide.planning.stand_ins import served  # noqa: PLC0415

    here = laptop()
    weights = weights_of(reading, here, absent_ok=True)
    all_served = [served(service, here, weights) for service in reading.services]
    stand_ins = {each.service.key: each.stand_ins for each in all_served}
    if strict:
        refuse_stand_ins(stand_ins)
    for each in all_served:
        source = each.service.spec.model.source
        known = "weights checked" if source in weights else "weights are not on this machine: not checked"
        replicas = _replicas(each.roles)
        given = f", {len(each.stand_ins)} stand-ins" if each.stand_ins else ""
        print(f'{each.service.key}: valid, model "{each.service.model_name}", {replicas}, {known}{given}')
    table = stand_in_table(by_name(stand_ins))
    if table:
        print(f"\nOn this machine stand-ins would be given:\n{table}")


def _replicas(roles: "Sequence[ServedRole]") -> str:
    counts = {role.name: role.replicas for role in roles}
    if counts.keys() == {"serve"}:
        return f"{counts['serve']} replica{'' if counts['serve'] == 1 else 's'}"
    return f"{' and '.join(f'{count} {name}' for name, count in counts.items())} workers"


async def _rehearse(found: Place, reading: "Reading") -> None:
    from argosy.apps.fleet.change import refuse_taken_names, rehearse  # noqa: PLC0415

    async with found.open() as fleet:
        await refuse_taken_names(fleet, reading.services)
        if found.on_cluster:
            await rehearse(fleet, reading)
