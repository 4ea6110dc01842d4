"""`argosy delete`: removes services, on a cluster or from a running instance."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from argosy.base.errors import NotNow, UserError
from argosy.cli.options import WHERE, add_place
from argosy.cli.places import Place, place

if TYPE_CHECKING:
    from argosy.api.objects import Key


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "delete",
        help=summary,
        description="Removes services, and all that was made for them; answers being written finish first.",
        epilog=f"examples: argosy delete smollm2 --wait · argosy delete -f chat.yaml · argosy delete t/chat\n{WHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="NAME, or NAMESPACE/NAME")
    parser.add_argument(
        "-f", "--filename", action="append", default=[], metavar="FILE", help="the services that this file names"
    )
    parser.add_argument("-w", "--wait", action="store_true", help="wait until their last replica has ended")
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds to wait at most (default 300)"
    )
    parser.add_argument("--ignore-not-found", action="store_true", help="it is no failure when one is not there")
    add_place(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remove them."""
    if not args.services and not args.filename:
        raise UserError("no service; name one, or give -f FILE; argosy status lists them")
    return asyncio.run(_delete(args, place(args)))


async def _delete(args: argparse.Namespace, found: Place) -> int:
    from argosy.apps.fleet.change import delete_service  # noqa: PLC0415 (other verbs do without)
    from argosy.apps.fleet.wait import wait_until_gone  # noqa: PLC0415

    keys = _keys(args, found)
    async with found.open() as fleet:
        there = [key for key in keys if await delete_service(fleet, key)]
        for key in there:
            print(f"{key}: {'is ending' if args.wait else 'deleted'}", flush=True)
        missing = [str(key) for key in keys if key not in there]
        if args.wait and there:
            said: set[Key] = set()

            def show(left: "frozenset[Key]") -> None:
                for key in sorted(left - said):
                    print(f"  {key} is still ending", flush=True)
                said.update(left)

            left = await wait_until_gone(fleet, there, timeout_s=args.timeout, show=show)
            for key in there:
                if key not in left:
                    print(f"{key}: deleted", flush=True)
            if left:
                raise NotNow(f"still there after {args.timeout:.0f} s: {', '.join(map(str, sorted(left)))}")
    if missing and not args.ignore_not_found:
        raise NotNow(f"there is no service {', '.join(missing)} in {found.name}; argosy status lists those that are")
    return 0


def _keys(args: argparse.Namespace, found: Place) -> "list[Key]":
    from argosy.api.objects import Key  # noqa: PLC0415
    from argosy.cli.files import load_for  # noqa: PLC0415

    named = [Key.parse(text) for text in args.services]
    keys = [key if key.namespace else Key(found.namespace or "default", key.name) for key in named]
    if args.filename:
        keys += [service.key for service in load_for(args, found, args.filename).services]
    return list(dict.fromkeys(keys))
