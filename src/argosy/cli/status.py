"""`argosy status`: services, replicas, components, requests and stand-ins of a running instance."""

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from argosy.base.errors import NotNow
from argosy.cli.options import add_state_directory, running_instance

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

    state, pid = running_instance(args)
    try:
        observation = asyncio.run(_observe(state.address, pid))
    except StoreUnavailable as error:
        raise NotNow(f"the supervisor (process {pid}) is starting, ending or stopped: {error}") from error
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

    console = Console(highlight=False, markup=False)
    gateway = observation.gateway
    console.print(f"gateway    {gateway.url}  {'ready' if gateway.programmed else gateway.message}")
    console.print(
        f"requests   {_number(gateway.picks)} picked, {_number(gateway.reservations)} running; "
        f"{_number(gateway.fail_opens)} routed without the picker, {_number(gateway.fallback_served)} served further "
        f"down its list, {_number(gateway.served_not_picked)} by none of it"
    )
    for service in observation.services:
        _show_service(console, service)
    table = _table("component", "pid", "address", "restarts", "state")
    for part in observation.components:
        table.add_row(part.name, str(part.pid or "-"), part.address or "", str(part.restarts), _state(part))
    console.print()
    console.print(table)


def _show_service(console: Any, service: "ServiceView") -> None:
    console.print()
    console.print(f"{service.name}  model {service.model}  {service.message}  requests: {_number(service.requests)}")
    if service.replicas:
        table = _table("  replica", "pid", "endpoint", "picks", "restarts", "state")
        for replica in service.replicas:
            table.add_row(
                f"  {replica.name}",
                str(replica.pid or "-"),
                replica.address or "",
                _number(replica.picks),
                str(replica.restarts),
                _state(replica),
            )
        console.print(table)
    if service.stand_ins:
        from argosy.cli.files import stand_in_table  # noqa: PLC0415

        console.print(stand_in_table({service.name: service.stand_ins}))


def _number(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _state(part: Any) -> str:
    return "ready" if part.ready else part.message


def _table(*names: str) -> Any:
    """Give a table whose last column is cut rather than wrapped: what it holds in full is in --json."""
    from rich.table import Column, Table  # noqa: PLC0415

    last = Column(names[-1], no_wrap=True, overflow="ellipsis")
    return Table(*names[:-1], last, box=None, pad_edge=False)
