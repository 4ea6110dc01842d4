"""A process that writes all the time while it leads, and notes in a file when it was not let.

python candidate.py KUBECONFIG NAMESPACE IDENTITY NOTES     until SIGTERM
"""

import asyncio
import contextlib
import datetime as dt
import itertools
import signal
import sys
from pathlib import Path

from argosy.api.kubernetes import ConfigMap
from argosy.api.objects import Key, ObjectMeta
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import settings_of_kubeconfig
from argosy.edge.kube.lease import Leadership, LeaseTimes
from argosy.edge.kube.port import NotLeading

LEASE = "turns"
TIMES = LeaseTimes(duration_s=3, renew_deadline_s=2, retry_s=0.3)
WRITTEN = "written"
_PACE_S = 0.002


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


async def write(store: KubernetesStore, namespace: str, identity: str, notes: Path) -> None:
    await store.get(ConfigMap, Key(namespace, WRITTEN))
    with notes.open("a", buffering=1) as file:
        file.write("ready\n")
        for number in itertools.count():
            metadata = ObjectMeta(namespace=namespace, name=WRITTEN)
            try:
                await store.retake(
                    ConfigMap(metadata=metadata, data={"by": identity, "number": str(number)}), owner="test"
                )
            except NotLeading:
                file.write("refused\n")
            await asyncio.sleep(_PACE_S)


async def main(kubeconfig: str, namespace: str, identity: str, notes: str) -> None:
    settings = settings_of_kubeconfig(Path(kubeconfig))
    async with KubernetesStore(settings) as plain:
        leadership = Leadership(plain, Key(namespace, LEASE), identity, now=now, times=TIMES)
        async with KubernetesStore(settings, lambda: leadership.leading) as guarded, leadership:
            task = asyncio.create_task(write(guarded, namespace, identity, Path(notes)))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await task


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
