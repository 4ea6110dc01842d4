"""A supervisor for the tests: runs three pods until SIGTERM, then drains them.

python small_supervisor.py FOLDER SEED MARKER
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from argosy.api.containers import Container
from argosy.api.kubernetes import Pod, PodSpec, PodStatus
from argosy.api.objects import ObjectMeta
from argosy.edge.processes.addresses import LoopbackAddresses, bindable
from argosy.edge.processes.pods import LocalCommand, PodProcess, PodSetting

FOLDER, SEED, MARKER = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
CHILD = Path(__file__).with_name("child_server.py")


async def main() -> None:
    addresses = LoopbackAddresses(SEED, lambda address: bindable(address, (8000,)))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    pods = [pod(f"pod-{index}", addresses.of(f"pod-{index}")) for index in range(3)]
    async with asyncio.TaskGroup() as group:
        for each in pods:
            group.create_task(each.run())
        (FOLDER / "started").touch()
        await ended.wait()
        (FOLDER / "draining").touch()
        for each in pods:
            group.create_task(each.stop())


def pod(name: str, address: str) -> PodProcess:
    async def ignore(_status: PodStatus) -> None:
        return

    # These children ignore SIGTERM, so that draining lasts.
    argv = (sys.executable, str(CHILD), address, "8000", str(FOLDER), "ignore-term")
    setting = PodSetting(
        address=address,
        commands={"child": LocalCommand(argv=argv)},
        inherited={"PATH": os.environ["PATH"], "MARKER": MARKER},
        logs=FOLDER,
    )
    spec = PodSpec(containers=(Container(name="c", image="child"),), termination_grace_period_seconds=30)
    return PodProcess(Pod(metadata=ObjectMeta(name=name, namespace="x"), spec=spec), setting, report=ignore, now=str)


asyncio.run(main())
