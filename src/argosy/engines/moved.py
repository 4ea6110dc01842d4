"""What a decode worker's answer says of the KV cache that it was to fetch: a header of ours, on answers to decode legs.

Its value is a number of tokens, or in one word why none moved. vLLM and SGLang do not have it.
"""

from typing import Final, Literal, TypeAlias, get_args

NotMoved: TypeAlias = Literal[
    "gone", "unreachable", "cut_off", "late", "damaged", "differs", "refused", "no_room", "not_restored"
]
"""Why a state did not come: it is not kept any more; no connection; the connection broke; it took too long; it is not
what was computed; it is of another model, engine or adapter; it is not asked for where it is said to be; there is no
room for it; llama.cpp did not take it."""
Transfer: TypeAlias = Literal["moved", "untold", "unanswered"] | NotMoved
"""What became of a state: some of it is used, or why none; the engine does not tell; no answer came that could."""
REASONS: Final[tuple[NotMoved, ...]] = get_args(NotMoved)
_MOST_DIGITS: Final = 9


def transfer_of(said: str, prompt_tokens: int) -> tuple[Transfer, int]:
    """Read the header: what became of a state, and how many tokens of it are used.

    What no engine of ours says, such as more tokens than the prompt has (where `prompt_tokens` is known, not 0), tells
    nothing.
    """
    for why in REASONS:
        if said == why:
            return why, 0
    if not (said.isascii() and said.isdecimal()) or len(said) > _MOST_DIGITS:
        return "untold", 0
    tokens = int(said)
    return ("untold", 0) if 0 < prompt_tokens < tokens else ("moved", tokens)
