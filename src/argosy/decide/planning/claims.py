"""Which service a model name belongs to, where several ask for it: the oldest.

Rules of this file:

- A name is global: all services share one Gateway, and clients choose by it.
- The oldest keeps its names whatever comes later, so that nobody's requests are taken from them.
- State machine: services are noted and forgotten; each time the services whose claims that may have changed are given.
"""

from collections.abc import Mapping

from argosy.api.llmservice import LLMService
from argosy.api.objects import Key

_Age = tuple[str, Key]


def model_names(service: LLMService) -> tuple[str, ...]:
    """Give the names that clients may put in `model` for this service."""
    return (service.model_name, *(adapter.name for adapter in service.spec.model.adapters))


class Claims:
    """All claims there are."""

    def __init__(self) -> None:
        self._names: dict[Key, tuple[str, ...]] = {}
        self._claimants: dict[str, dict[Key, _Age]] = {}

    @property
    def keys(self) -> frozenset[Key]:
        """The services that are noted."""
        return frozenset(self._names)

    def note(self, service: LLMService) -> frozenset[Key]:
        """Note a service as it is now; give the others that share a name with what it was or is."""
        affected = self.forget(service.key)
        names = self._names[service.key] = model_names(service)
        for name in names:
            claimants = self._claimants.setdefault(name, {})
            affected |= claimants.keys()
            claimants[service.key] = (service.metadata.creation_timestamp or "", service.key)
        return affected - {service.key}

    def forget(self, key: Key) -> frozenset[Key]:
        """Forget a service; give the others that shared a name with it."""
        affected: frozenset[Key] = frozenset()
        for name in self._names.pop(key, ()):
            claimants = self._claimants[name]
            del claimants[key]
            affected |= claimants.keys()
            if not claimants:
                del self._claimants[name]
        return affected

    def taken(self, key: Key) -> Mapping[str, Key]:
        """Give the names of a service that belong to another, and to which."""
        holders = {name: min(self._claimants[name].values())[1] for name in self._names.get(key, ())}
        return {name: holder for name, holder in holders.items() if holder != key}
