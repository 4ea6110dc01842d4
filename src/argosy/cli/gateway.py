"""`argosy gateway`: the process that programs Envoy."""

import argparse
from typing import TYPE_CHECKING, Any

from argosy.api.names import SYSTEM_NAMESPACE, XDS_PORT
from argosy.base.endpoint import Endpoint
from argosy.base.errors import UserError
from argosy.cli.options import add_store, object_store

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from argosy.edge.kube.port import ObjectStore

PICKER_SERVICE = f"{SYSTEM_NAMESPACE}/argosy-picker"


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("gateway", help=summary, description=summary)
    add_store(parser)
    parser.add_argument(
        "--xds-address",
        metavar="IP:PORT",
        default=f"0.0.0.0:{XDS_PORT}",
        help="where Envoys fetch their configuration (default: %(default)s)",
    )
    parser.add_argument(
        "--bind-address",
        metavar="IP",
        default="0.0.0.0",
        help="the address that the listeners of Gateways are bound to (default: %(default)s)",
    )
    parser.add_argument(
        "--picker",
        metavar="NAMESPACE/NAME",
        default=PICKER_SERVICE,
        help="the Service that the pickers stand behind (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    import logging  # noqa: PLC0415 (verbs import late, so that others start fast)

    import uvloop  # noqa: PLC0415

    store = object_store(args.store)
    try:
        xds = Endpoint.parse(args.xds_address)
    except ValueError as error:
        raise UserError(f"--xds-address: {error}") from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvloop.run(_serve(store, xds, args.bind_address, args.picker))
    return 0


async def _serve(
    opening: "AbstractAsyncContextManager[ObjectStore]", xds: Endpoint, bind_address: str, picker: str
) -> None:
    import asyncio  # noqa: PLC0415
    import random  # noqa: PLC0415
    import signal  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from argosy.api.objects import Key  # noqa: PLC0415
    from argosy.apps.gateway.gateway import GatewayApp  # noqa: PLC0415
    from argosy.decide.translation.translate import Settings  # noqa: PLC0415

    def now() -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def serve() -> None:
        async with opening as store:
            settings = Settings(bind_address=bind_address, picker=Key.parse(picker))
            app = GatewayApp(store, settings, xds, now=now)
            print(f"serving xDS at {await app.start()}", flush=True)
            await app.run(random.Random())  # noqa: S311 (spreads retries, guards nothing)

    serving = asyncio.create_task(serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()
