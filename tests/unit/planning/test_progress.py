"""How far a service is that was just applied."""

from typing import Any

import pytest
from msgspec.structs import replace

from argosy.api.llmservice import LLMService, LLMServiceStatus
from argosy.api.objects import Condition
from argosy.decide.planning.progress import progress_of
from harness.specs import service


def condition(type_: str, status: str, reason: str) -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=f"{type_} is {reason}.")


PLANNED = condition("Planned", "True", "AsAsked")
AVAILABLE = condition("Available", "True", "Ready")
MISSING = condition("Available", "False", "NotReady")
SETTLED = condition("Progressing", "False", "Settled")


def seen(*conditions: Condition, generation: int = 2, replicas: int = 1) -> LLMService:
    status = LLMServiceStatus(observed_generation=generation, replicas=replicas, conditions=conditions)
    return replace(service(), status=status)


@pytest.mark.parametrize(
    ("found", "state", "sentence"),
    [
        (None, "gone", "It has been deleted."),
        (service(), "waiting", "Nobody has looked at it yet: it waits for the operator."),
        (seen(PLANNED, AVAILABLE, SETTLED, generation=1), "waiting", "Nobody has looked"),
        (seen(), "waiting", "It is being planned."),
        (seen(PLANNED, AVAILABLE, SETTLED), "serving", "Available is Ready."),
        (seen(PLANNED, AVAILABLE, SETTLED, generation=3), "serving", "Available is Ready."),
        (seen(PLANNED, MISSING, SETTLED), "waiting", "Available is NotReady."),
        (seen(PLANNED, MISSING, SETTLED, replicas=0), "serving", "Available is NotReady."),
        (seen(PLANNED, SETTLED), "waiting", "It is being planned."),
        (seen(PLANNED, AVAILABLE), "waiting", "Available is Ready."),
        (
            seen(PLANNED, AVAILABLE, condition("Progressing", "True", "Starting")),
            "waiting",
            "Progressing is Starting.",
        ),
        (
            seen(PLANNED, AVAILABLE, condition("Progressing", "False", "Failing")),
            "failing",
            "Progressing is Failing.",
        ),
        (seen(condition("Planned", "False", "NameTaken")), "failing", "Planned is NameTaken."),
        (seen(condition("Planned", "False", "Waiting"), MISSING), "waiting", "Available is NotReady."),
    ],
)
def test_a_wait_ends_when_the_newest_generation_serves(found: Any, state: str, sentence: str) -> None:
    progress = progress_of(found, generation=2)
    assert progress.state == state
    assert progress.sentence.startswith(sentence)
