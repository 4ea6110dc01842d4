"""vLLM and NIXL on a machine with few cores: what waits sleeps, and does not spin.

NIXL's progress thread polls without a pause, and each of vLLM's readers spins for a second after a step. Two engines on
two cores then take each other's time, and a prefill of half a second takes ten.
"""

from typing import Any

POLL_US = 1000
SPIN_S = 0.002


def calm() -> None:
    """Have NIXL sleep between polls, and readers spin for 2 ms. vLLM calls it in each of its processes."""
    # vLLM may be imported once it has found its plug-ins, not before.
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition  # noqa: PLC0415

    *others, _busy_loop_s = SpinCondition.__init__.__defaults__
    SpinCondition.__init__.__defaults__ = (*others, SPIN_S)
    try:
        from nixl_cu12 import _api  # noqa: PLC0415
    except ImportError:
        return
    agent = _api.nixlBind.nixlAgent
    if getattr(agent, "is_calm", False):
        return

    def calm_agent(name: str, config: Any) -> Any:
        config.pthrDelay = POLL_US
        return agent(name, config)

    calm_agent.is_calm = True
    _api.nixlBind.nixlAgent = calm_agent
