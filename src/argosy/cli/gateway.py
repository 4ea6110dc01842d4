"""`argosy gateway`: the process that programs Envoy."""

import argparse
import os
import socket
from typing import TYPE_CHECKING, Any

from argosy.api.names import PICKER_SERVICE, SYSTEM_NAMESPACE, XDS_PORT
from argosy.base.endpoint import Endpoint
from argosy.base.errors import UserError
from argosy.cli.collector import spans_of_gateways
from argosy.cli.options import add_store, has_one_writer, log_to_stderr, object_store

if TYPE_CHECKING:
    from argosy.apps.gateway.gateway import Settings

PICKERS = f"{SYSTEM_NAMESPACE}/{PICKER_SERVICE}"
GATEWAY_SERVICE = f"{SYSTEM_NAMESPACE}/argosy-gateway"


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "gateway",
        help=summary,
        description="Makes the Envoys of every Gateway, configures them, and says in statuses what became of it. Of "
        "several gateways all configure Envoys and one, by a Lease, writes. Where $OTEL_EXPORTER_OTLP_ENDPOINT names a "
        "collector, Envoys send it a span of each sampled request.",
    )
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
        help="the address that the listeners of Gateways are bound to: 0.0.0.0 where every Envoy has an address of its "
        "own, else the one that they share (default: %(default)s)",
    )
    parser.add_argument(
        "--picker",
        metavar="NAMESPACE/NAME",
        default=PICKERS,
        help="the Service that the pickers stand behind (default: %(default)s)",
    )
    parser.add_argument(
        "--picker-ca",
        metavar="FILE",
        help="speak TLS with the pickers, whose certificate must hold their Service's name and be of an authority of "
        "this file, which is read again when it changes (default: plain text)",
    )
    _add_proxies(parser)
    parser.set_defaults(run=run)


def _add_proxies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--service",
        metavar="NAMESPACE/NAME",
        default=GATEWAY_SERVICE,
        help="the Service that Envoys find this process by (default: %(default)s)",
    )
    parser.add_argument(
        "--envoy-replicas",
        metavar="N",
        type=_positive,
        default=2,
        help="Envoys for each Gateway; one where --bind-address lets no more listen (default: %(default)s)",
    )
    parser.add_argument(
        "--service-type",
        choices=("LoadBalancer", "ClusterIP", "NodePort"),
        default="LoadBalancer",
        help="the type of the Service that stands for a Gateway (default: %(default)s)",
    )
    parser.add_argument(
        "--image-registry",
        metavar="PREFIX",
        default="",
        help="what comes before the name of Envoy's image, such as registry.example.com/team",
    )
    parser.add_argument(
        "--identity",
        default=os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
        metavar="NAME",
        help="the name that the Lease carries while this process writes (default: $POD_NAME, else host and process); "
        "a laptop's store has one gateway, and no Lease",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from argosy.apps.gateway.process import run_gateway  # noqa: PLC0415 (verbs import late, so that others start fast)

    object_store(args.store)  # an address that is none is said at once
    try:
        xds = Endpoint.parse(args.xds_address)
    except ValueError as error:
        raise UserError(f"--xds-address: {error}") from error
    log_to_stderr()
    identity = None if has_one_writer(args.store) else args.identity
    run_gateway(lambda may_write: object_store(args.store, may_write), settings_of(args), xds, identity=identity)
    return 0


def settings_of(args: argparse.Namespace) -> "Settings":
    """The arguments as the app's settings."""
    from argosy.api.objects import Key  # noqa: PLC0415
    from argosy.apps.gateway.gateway import Settings  # noqa: PLC0415
    from argosy.decide.planning.pods import image_at  # noqa: PLC0415
    from argosy.decide.planning.proxies import IMAGE, ProxySettings  # noqa: PLC0415
    from argosy.decide.translation.translate import Settings as TranslationSettings  # noqa: PLC0415

    return Settings(
        translation=TranslationSettings(
            bind_address=args.bind_address, picker=Key.parse(args.picker), spans=spans_of_gateways(os.environ)
        ),
        proxies=ProxySettings(
            controller=Key.parse(args.service),
            bind_address=args.bind_address,
            replicas=args.envoy_replicas,
            service_type=args.service_type,
            image=image_at(args.image_registry, IMAGE),
        ),
        picker_authority=args.picker_ca,
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
