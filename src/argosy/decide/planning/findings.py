"""What is found on the way from a service to an answer: right, wrong, or not clear, each in a sentence with its fix."""

from typing import Literal

import msgspec

from argosy.api.objects import Condition


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `wrong` alone keeps a service from serving; `fix` is what to do."""

    state: Literal["right", "wrong", "unclear"]
    sentence: str
    fix: str = ""


def right(sentence: str) -> Finding:
    """Say that something is as it must be."""
    return Finding(state="right", sentence=sentence)


def wrong(sentence: str, fix: str) -> Finding:
    """Say that something keeps a service from serving, and what to do."""
    return Finding(state="wrong", sentence=sentence, fix=fix)


def unclear(sentence: str, fix: str = "") -> Finding:
    """Say that something is not known, or not right without being the reason."""
    return Finding(state="unclear", sentence=sentence, fix=fix)


def condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """Give a condition by its type."""
    return next((each for each in conditions if each.type == kind), None)


def one_line(text: str | None) -> str:
    """Give words of others as the end of a sentence of ours."""
    return " ".join((text or "").split()).rstrip(".")
