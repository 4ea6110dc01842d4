"""Runs one node until SIGTERM: `python -m harness.node FILE`, FILE being what `setting.NodeSetting` says."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

from harness.node.agent import run_until_stopped
from harness.node.setting import read_node


async def main() -> None:
    """Run the node."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await run_until_stopped(read_node(Path(sys.argv[1])), stopped)


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
logging.getLogger("httpx2").setLevel(logging.WARNING)
asyncio.run(main())
