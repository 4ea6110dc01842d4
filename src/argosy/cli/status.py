"""`argosy status`: services, replicas, components, requests and stand-ins of a fleet."""

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from argosy.cli.options import WHERE, add_place
from argosy.cli.places import Place, place

if TYPE_CHECKING:
    from argosy.decide.planning.observation import Observation, Part, Replica, ServiceView

WATCH_S = 2.0
_PIPE_COLUMNS = 200


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "status",
        help=summary,
        description=summary,
        epilog=f"examples: argosy status · argosy status --json · argosy status --context prod -A -w\n{WHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the same for machines")
    parser.add_argument("-w", "--watch", action="store_true", help=f"look again every {WATCH_S:.0f} s until Ctrl-C")
    add_place(parser, all_namespaces=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look and print; 1 when nothing runs."""
    found = place(args)
    try:
        asyncio.run(_watch(found, as_json=args.json) if args.watch else _once(found, as_json=args.json))
    except KeyboardInterrupt:
        return 0
    return 0


async def _once(found: Place, *, as_json: bool) -> None:
    from argosy.apps.fleet.observe import observe  # noqa: PLC0415 (others start without)

    async with found.open() as fleet:
        observation = await observe(fleet)
    _print(observation, found, as_json=as_json)


async def _watch(found: Place, *, as_json: bool) -> None:
    from argosy.apps.fleet.observe import observe  # noqa: PLC0415

    async with found.open() as fleet:
        while True:
            _print(await observe(fleet), found, as_json=as_json, anew=True)
            await asyncio.sleep(WATCH_S)


def _print(observation: "Observation", found: Place, *, as_json: bool, anew: bool = False) -> None:
    """Print an observation; `anew` clears a terminal first, and gives JSON one line for each."""
    if as_json:
        import msgspec  # noqa: PLC0415

        text = msgspec.json.encode(observation)
        print((text if anew else msgspec.json.format(text, indent=2)).decode(), flush=True)
        return
    from rich.console import Console  # noqa: PLC0415

    # Whoever reads a pipe has no columns: rich would take 80, and cut names and addresses to fit.
    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(highlight=False, markup=False, width=None if told else _PIPE_COLUMNS)
    if anew:
        console.clear()
    show(observation, console, on_cluster=found.on_cluster)


def show(observation: "Observation", console: Any, *, on_cluster: bool) -> None:
    """Print an observation for people; a cluster's has nodes in the place of process ids."""
    gateway = observation.gateway
    state = "ready" if gateway.programmed else gateway.message
    console.print(f"gateway    {gateway.url or 'no address yet'}  {state}")
    console.print(
        f"requests   {_number(gateway.picks)} picked, {_number(gateway.reservations)} running; "
        f"{_number(gateway.fail_opens)} routed without the picker, {_number(gateway.fallback_served)} served further "
        f"down its list, {_number(gateway.served_not_picked)} by none of it"
    )
    if gateway.scheduling_usable is False:
        console.print("scheduling  the file cannot be used, what it held before is in force; the picker's log says why")
    for service in observation.services:
        _show_service(console, service, on_cluster=on_cluster)
    if not observation.services:
        console.print("\nno service here; argosy apply -f FILE makes one, and -A looks in every namespace")
    table = _table("component", _place_column(on_cluster), "address", "restarts", "state")
    for part in observation.components:
        name = part.pod if on_cluster else part.name
        table.add_row(name, _where(part, on_cluster=on_cluster), part.address or "", str(part.restarts), _state(part))
    if observation.components:
        console.print()
        console.print(table)
    for words in observation.unseen if on_cluster else ():
        console.print(f"unknown: {words}")


def _show_service(console: Any, service: "ServiceView", *, on_cluster: bool) -> None:
    console.print()
    name = service.name if service.namespace == "default" else f"{service.namespace}/{service.name}"
    split = any(replica.role not in ("", "serve") for replica in service.replicas)
    apart = f", {_number(service.prefilled)} prefilled apart" if split else ""
    lost = f" ({service.not_moved} whose KV cache did not arrive)" if service.not_moved else ""
    console.print(
        f"{name}  model {service.model}  {service.message}  requests: {_number(service.requests)}{apart}{lost}"
    )
    if service.replicas:
        roles = ("role",) if split else ()
        table = _table("  replica", *roles, _place_column(on_cluster), "endpoint", "picks", "restarts", "state")
        for replica in service.replicas:
            table.add_row(
                f"  {replica.name}",
                *((replica.role,) if split else ()),
                _where(replica, on_cluster=on_cluster),
                replica.address or "",
                _number(replica.picks),
                str(replica.restarts),
                _state(replica),
            )
        console.print(table)
    if service.stand_ins:
        from argosy.cli.files import stand_in_table  # noqa: PLC0415

        console.print(stand_in_table({name: service.stand_ins}))


def _place_column(on_cluster: bool) -> str:  # noqa: FBT001 (it is the value)
    return "node" if on_cluster else "pid"


def _where(part: "Part | Replica", *, on_cluster: bool) -> str:
    return (part.node or "-") if on_cluster else str(part.pid or "-")


def _number(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _state(part: "Part | Replica") -> str:
    return "ready" if part.ready else part.message


def _table(*names: str) -> Any:
    """Give a table whose last column is cut rather than wrapped: what it holds in full is in --json."""
    from rich.table import Column, Table  # noqa: PLC0415

    last = Column(names[-1], no_wrap=True, overflow="ellipsis")
    return Table(*names[:-1], last, box=None, pad_edge=False)
