"""An LLMService that came from a server → the service, or every fault in it.

A server has checked the schema alone, and of some fields not even that (`crd`): what must hold between fields is said
here, in the service's status, as a file's reader would say it.
"""

from typing import Final

import msgspec
from msgspec import inspect

from argosy.api.llmservice import LLMService, LLMServiceSpec, StoredService
from argosy.api.rules import service_faults
from argosy.api.shape import Fault, faults

_SPEC: Final = inspect.type_info(LLMServiceSpec)


def service_of(stored: StoredService) -> LLMService | tuple[Fault, ...]:
    """Give the service, or what is wrong with it."""
    wrong = tuple(faults(_SPEC, stored.spec, ("spec",)))
    if wrong:
        return wrong
    service = LLMService(
        metadata=stored.metadata, spec=msgspec.convert(stored.spec, LLMServiceSpec), status=stored.status
    )
    return tuple(service_faults(service)) or service
