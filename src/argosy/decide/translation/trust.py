"""Whose inputs are believed: listeners that a Gateway trusts, and what a pool believes of everybody.

Rules of this file:

- A port is trusted when all its listeners are. Listeners of one port differ by hostname, and a client sends the
  hostname that it likes.
- What an annotation names that is not there trusts nothing.
"""

from argosy.api.gateway import Gateway
from argosy.api.inference import InferencePool
from argosy.api.names import TRUSTED_INPUTS, TRUSTED_LISTENERS, InputName
from argosy.decide.routing.inputs import ALL_INPUTS
from argosy.decide.translation.attachment import listener_problem


def trusted_ports(gateway: Gateway) -> frozenset[int]:
    """Give the ports of a Gateway at which clients' inputs are believed."""
    named = _words(gateway.metadata.annotations.get(TRUSTED_LISTENERS, ""))
    served = [each for each in gateway.spec.listeners if listener_problem(gateway, each) is None]
    untrusted = {each.port for each in served if each.name not in named}
    return frozenset(each.port for each in served) - untrusted


def trusted_inputs(pool: InferencePool) -> frozenset[InputName]:
    """Give the inputs that a pool believes of whoever asks it."""
    named = _words(pool.metadata.annotations.get(TRUSTED_INPUTS, ""))
    return frozenset(name for name in ALL_INPUTS if name in named)


def trust_problem(gateway: Gateway) -> str | None:
    """Say which listeners that a Gateway wants trusted are not, and why; None when there is nothing to say."""
    listeners = {each.name: each for each in gateway.spec.listeners}
    ports = trusted_ports(gateway)
    problems = []
    for name in sorted(_words(gateway.metadata.annotations.get(TRUSTED_LISTENERS, ""))):
        listener = listeners.get(name)
        if listener is None:
            problems.append(f"{name!r} is none of its listeners")
        elif listener.port not in ports and listener_problem(gateway, listener) is None:
            problems.append(f"{name} shares port {listener.port} with a listener that is not trusted")
    return f"annotation {TRUSTED_LISTENERS}: {'; '.join(problems)}" if problems else None


def _words(annotation: str) -> frozenset[str]:
    return frozenset(word.strip() for word in annotation.split(",") if word.strip())
