"""`argosy status`: services, replicas, components, requests and stand-ins of a running instance."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

from argosy.cli.options import add_state_directory, state_directory

if TYPE_CHECKING:
    from argosy.apps.local.observation import Observation, ServiceView


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "status", help=summary, description=summary, epilog="examples: argosy status · argosy status --json"
    )
    parser.add_argument("--json", action="store_true", help="print the same for machines")
    add_state_directory(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look once and print; 1 when nothing runs."""
    from argosy.edge.kube.port import StoreUnavailable  # noqa: PLC0415 (others start without)

    state = state_directory(args)
    pid = state.supervisor_pid()
    if pid is None:
        print(f"nothing is running in {state.root}; start it with: argosy up FILE", file=sys.stderr)
        return 1
    try:
        observation = asyncio.run(_observe(state.address, pid))
    except StoreUnavailable as error:
        print(f"the supervisor (process {pid}) is starting or ending and does not answer: {error}", file=sys.stderr)
        return 1
    if args.json:
        import msgspec  # noqa: PLC0415

        print(msgspec.json.format(msgspec.json.encode(observation), indent=2).decode())
    else:
        _show(observation)
    return 0


async def _observe(address: str, pid: int) -> "Observation":
    from argosy.apps.local.observation import observe  # noqa: PLC0415
    from argosy.edge.kube.remote import RemoteStore  # noqa: PLC0415

    async with RemoteStore(address) as store:
        return await observe(store, supervisor_pid=pid)


def _show(observation: "Observation") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True, markup=False)
    gateway = observation.gateway
    console.print(f"gateway    {gateway.url}  {'ready' if gateway.programmed else gateway.message}")
    console.print(
        f"requests   {gateway.picks} picked, {gateway.reservations} running; {gateway.fail_opens} routed without the "
        f"picker, {gateway.fallback_served} served further down its list, {gateway.served_not_picked} by none of it"
    )
    for service in observation.services:
        _show_service(console, service)
    table = Table("component", "pid", "address", "restarts", "state", box=None, pad_edge=False)
    for part in observation.components:
        table.add_row(part.name, str(part.pid or "-"), part.address or "", str(part.restarts), _state(part))
    console.print()
    console.print(table)


def _show_service(console: Any, service: "ServiceView") -> None:
    from rich.table import Table  # noqa: PLC0415

    console.print()
    console.print(f"{service.name}  model {service.model}  {service.message}  {service.requests} requests")
    if service.replicas:
        table = Table("  replica", "pid", "endpoint", "picks", "restarts", "state", box=None, pad_edge=False)
        for replica in service.replicas:
            table.add_row(
                f"  {replica.name}",
                str(replica.pid or "-"),
                replica.address or "",
                str(replica.picks),
                str(replica.restarts),
                _state(replica),
            )
        console.print(table)
    if service.stand_ins:
        from argosy.cli.files import stand_in_table  # noqa: PLC0415

        console.print(stand_in_table({service.name: service.stand_ins}))


def _state(part: Any) -> str:
    return "ready" if part.ready else part.message
