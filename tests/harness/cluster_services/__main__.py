"""Routes, names and balances Services until it is killed: `python -m harness.cluster_services KUBECONFIG`."""

import asyncio
import contextlib
import logging
import random
import sys
from pathlib import Path

from argosy.api.discovery import EndpointSlice
from argosy.api.kubernetes import Service
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.connection import AnsweredWith, settings_of_kubeconfig
from harness.cluster_services.balancer import missing_addresses
from harness.cluster_services.cluster_ips import backends, rules
from harness.cluster_services.name_server import serve_names
from harness.cluster_services.names import Zone, zone
from harness.network import NAME_SERVER
from harness.node.calls import MERGE, insist

TOGETHER_S = 0.02
"""Changes that come within so long are programmed at once."""
log = logging.getLogger("cluster_services")


async def main(kubeconfig: Path) -> None:
    """Follow Services and EndpointSlices for ever."""
    names: Zone = {}
    async with (
        KubernetesStore(settings_of_kubeconfig(kubeconfig)) as store,
        Cache(store, (Service, EndpointSlice), rng=random.Random()) as cache,
        serve_names(NAME_SERVER, lambda: names),
    ):
        seen, programmed = 0, ""
        while True:
            seen = await cache.changed(seen)
            services, slices = cache.all(Service), cache.all(EndpointSlice)
            wanted, names = rules(backends(services, slices)), zone(services, slices)
            if wanted != programmed:
                await program(wanted)
                programmed = wanted
            for key, address in missing_addresses(services).items():
                status = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
                path = f"/api/v1/namespaces/{key.namespace}/services/{key.name}/status"
                with contextlib.suppress(AnsweredWith):  # it is gone
                    await insist(store.connection, "PATCH", path, {"status": status}, MERGE)
            await asyncio.sleep(TOGETHER_S)


async def program(wanted: str) -> None:
    """Have nftables route so, in the network that this process is in."""
    nft = await asyncio.create_subprocess_exec("nft", "-f", "-", stdin=asyncio.subprocess.PIPE)
    await nft.communicate(wanted.encode())
    if nft.returncode:
        log.error("nft refused:\n%s", wanted)
        sys.exit("nft refused the rules")


logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
asyncio.run(main(Path(sys.argv[1])))
