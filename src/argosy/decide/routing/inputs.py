"""What a request says of how it wants to be treated, as far as it is believed.

Rules of this file:

- What is not believed, not there, or no such value counts as not said: a client's header never fails its request.
- Every value is bounded, in length and in characters, before anything keeps or compares it.

Source: llm-d's router, pkg/epp/metadata/consts.go, for names and defaults.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, get_args

import msgspec

from argosy.api.names import INPUT_HEADER_NAMES, INPUT_HEADERS, TPOT_SLO_HEADERS, TTFT_SLO_HEADERS, InputName

DEFAULT_FLOW: Final = "default-flow"
ALL_INPUTS: Final[frozenset[InputName]] = frozenset(get_args(InputName))
_NAMES: Final = frozenset(INPUT_HEADER_NAMES)
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_WORD: Final = re.compile(r"[!-+\--~]{1,256}")
"""Visible ASCII without commas, which stand between the values of a header that came several times."""
_MILLISECONDS: Final = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?")


class RequestInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of one request.

    `objective` names an InferenceObjective, `fairness_id` whose turn it is among equals, `ttft_ms` and `tpot_ms` are
    wanted times to the first and to each further token, `session` is the key of a conversation (None for none of
    these), `explain` asks for the decision with the answer.
    """

    objective: str | None = None
    fairness_id: str = DEFAULT_FLOW
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    session: str | None = None
    explain: bool = False


NO_INPUTS: Final = RequestInputs()


def request_inputs(headers: Mapping[str, str], believed: Collection[InputName]) -> RequestInputs:
    """Read the inputs that are believed from headers by lower-case name; the others are as if nothing were said."""
    if not believed or _NAMES.isdisjoint(headers):
        return NO_INPUTS

    def said(name: InputName, form: re.Pattern[str]) -> str | None:
        return _first(headers, INPUT_HEADERS[name], form) if name in believed else None

    slo = "slo" in believed
    return RequestInputs(
        objective=said("objective", _OBJECT_NAME),
        fairness_id=said("fairness", _WORD) or DEFAULT_FLOW,
        ttft_ms=_milliseconds(headers, TTFT_SLO_HEADERS) if slo else None,
        tpot_ms=_milliseconds(headers, TPOT_SLO_HEADERS) if slo else None,
        session=said("session", _WORD),
        explain=said("explain", _WORD) in ("1", "true"),
    )


def _first(headers: Mapping[str, str], names: Collection[str], form: re.Pattern[str]) -> str | None:
    """Give the value under the first name that is there, unless it has another form."""
    value = next((headers[name] for name in names if name in headers), "")
    return value if form.fullmatch(value) else None


def _milliseconds(headers: Mapping[str, str], names: Collection[str]) -> float | None:
    value = _first(headers, names, _MILLISECONDS)
    return float(value) or None if value else None
