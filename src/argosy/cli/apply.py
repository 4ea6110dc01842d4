"""`argosy apply`: adds and changes services, on a cluster or in a running instance."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from argosy.base.errors import NotNow
from argosy.cli.options import WHERE, add_files, add_place, files_of
from argosy.cli.places import Place, place_for_files

if TYPE_CHECKING:
    from argosy.api.objects import Key
    from argosy.apps.fleet.change import Applied
    from argosy.apps.fleet.fleet import Fleet

EXAMPLES = """examples:
  argosy apply -f service.yaml --wait
  argosy apply examples/two-models.yaml --context prod -n team-a --wait --timeout 900
  sed s/REPLICAS/3/ service.yaml | argosy apply -f -"""


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "apply",
        help=summary,
        description="Adds and changes the services of FILE…, and leaves all others alone; `argosy up FILE…`, which "
        "makes an instance on this machine match its files, removes those that they do not name. All of the files is "
        "right and everything is rehearsed before anything is written. On a cluster it is a server-side apply as "
        "argosy-cli.",
        epilog=f"{EXAMPLES}\nexit codes: 0 done; 1 not done, or not serving in time: the reason is on standard error; "
        f"2 a file is wrong\n{WHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_files(parser)
    parser.add_argument("-w", "--wait", action="store_true", help="wait until the services serve what was applied")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds to wait at most (default 600)"
    )
    parser.add_argument(
        "--force-conflicts", action="store_true", help="take fields over that others have applied otherwise"
    )
    parser.add_argument("--strict", action="store_true", help="refuse what would need a stand-in")
    add_place(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Apply, and wait when asked to."""
    files = files_of(args)
    found = place_for_files(args, files)
    return asyncio.run(_apply(args, files, found))


async def _apply(args: argparse.Namespace, files: list[str], found: Place) -> int:
    from argosy.apps.fleet.change import apply_services  # noqa: PLC0415 (other verbs do without)
    from argosy.cli.files import ground_of, load_for, refuse_stand_ins, say_stand_ins, stand_ins_on  # noqa: PLC0415

    reading = load_for(args, found, files)
    stand_ins = stand_ins_on(reading, ground_of(reading, here=not found.on_cluster, engine=found.engine))
    if args.strict:
        refuse_stand_ins(stand_ins)
    say_stand_ins(stand_ins)
    async with found.open() as fleet:
        done = await apply_services(fleet, reading, force=args.force_conflicts)
        for each in done:
            print(f"{each.key}: {each.verb}", flush=True)
        if args.wait:
            await _wait(fleet, done, args.timeout)
    return 0


async def _wait(fleet: "Fleet", done: "tuple[Applied, ...]", timeout_s: float) -> None:
    """Wait until all serve. Raises NotNow that says which does not, and why."""
    from argosy.apps.fleet.wait import wait_until_serving  # noqa: PLC0415
    from argosy.cli.waiting import display  # noqa: PLC0415

    generations = {each.key: each.generation for each in done}
    with display() as show:
        progress = await wait_until_serving(fleet, generations, timeout_s=timeout_s, show=show)
    late = {key: each for key, each in progress.items() if each.state != "serving"}
    if not late:
        print("all serve what was applied")
        for key in sorted(generations):
            await _say_held(fleet, key)
        return
    timed_out = {each.state for each in late.values()} == {"waiting"}
    why = f"not serving within {timeout_s:.0f} s" if timed_out else "not serving"
    names = " ".join(f"argosy why-not {key}" for key in list(late)[:1])
    raise NotNow("\n  ".join((f"{why}; {names} says more", *(f"{key}: {each.sentence}" for key, each in late.items()))))


async def _say_held(fleet: "Fleet", key: "Key") -> None:
    """Say which fields of a service's objects are left as somebody else has set them."""
    from argosy.api.llmservice import StoredService  # noqa: PLC0415

    stored = await fleet.store.get(StoredService, key)
    for held in stored.status.held if stored else ():
        print(f"{key}: {held.field} of {held.object} is left as {held.holder} has set it")
