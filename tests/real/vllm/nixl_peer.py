"""One of two NIXL agents: it `holds` memory, or it `fetches` another's; run by the Python that has vLLM.

The holder says where its memory is, in one line. The fetcher is told that line, and then fetches once for each line
that it reads: it says `asked`, and then `DONE`, or `lost` once NIXL has given the other up.
"""

import base64
import ctypes
import json
import sys
import time
from typing import Any

from nixl_cu12 import _api

SIZE, COUNT = 65_536, 32


def main() -> None:
    """Play the part that the first argument names."""
    role = sys.argv[1]
    agent = _api.nixl_agent(role, _api.nixl_agent_config(num_threads=4))
    memory = (ctypes.c_char * (SIZE * COUNT))()
    parts = [(ctypes.addressof(memory) + SIZE * index, SIZE, 0) for index in range(COUNT)]
    agent.register_memory([(*parts[0][:1], SIZE * COUNT, 0, "")], "DRAM")
    if role == "holds":
        say(json.dumps([base64.b64encode(agent.get_agent_metadata()).decode(), parts]))
        sys.stdin.read()
    else:
        there, remote_parts = json.loads(sys.stdin.readline())
        other = agent.add_remote_agent(base64.b64decode(there))
        mine = agent.prep_xfer_dlist("NIXL_INIT_AGENT", agent.get_xfer_descs(parts, "DRAM"))
        remote = agent.prep_xfer_dlist(other, agent.get_xfer_descs([tuple(part) for part in remote_parts], "DRAM"))
        say("ready")
        for _ in sys.stdin:
            say(fetch(agent, mine, remote))


def fetch(agent: Any, mine: Any, remote: Any) -> str:
    """Give how it ends."""
    which = list(range(COUNT))
    handle = agent.make_prepped_xfer("READ", mine, which, remote, which, b"")
    try:
        agent.transfer(handle)
        say("asked")
        while (state := agent.check_xfer_state(handle)) == "PROC":
            time.sleep(0.001)
    except _api.nixlBind.nixlRemoteDisconnectError:
        return "lost"
    agent.release_xfer_handle(handle)
    return str(state)


def say(line: str) -> None:
    """Say a line on stdout."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


main()
