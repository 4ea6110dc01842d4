"""vLLM's KV transfer for a prefill and a decode worker, one after the other: `kv_transfer_params` in bodies.

The prefill worker computes the prompt and one token, keeps the prompt's KV blocks, and says in its answer where they
are. The decode worker is told that, pulls them, and goes on. Whoever reads a decode request twice pulls once: what it
cannot pull it computes.

Sources: vLLM 0.32, `distributed/kv_transfer/kv_connector/v1/nixl_connector.py`; llm-d's `nixlv2` connector of its
routing sidecar.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

PARAMS: Final = "kv_transfer_params"
Fields = Mapping[str, msgspec.Raw]
"""The top-level fields of a body, unread."""

_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_COUNT: Final = re.compile(rb"[1-9][0-9]*|null")
_USUAL: Final = {
    **dict.fromkeys(_LIMITS, _COUNT),
    "min_tokens": re.compile(rb"[0-9]+|null"),
    "stream": re.compile(rb"true|false|null"),
    "stream_options": re.compile(rb"\{.*\}|null", re.DOTALL),
}
"""What fields may hold that are another's in a prefill. What holds anything else is the prefill worker's to refuse."""
_UNWANTED: Final = frozenset(("stream_options", "min_tokens"))
_ASKED: Final = msgspec.Raw(
    msgspec.json.encode(
        {
            "do_remote_decode": True,
            "do_remote_prefill": False,
            "remote_engine_id": None,
            "remote_block_ids": None,
            "remote_host": None,
            "remote_port": None,
        }
    )
)
_ONE: Final = msgspec.Raw(b"1")
_FALSE: Final = msgspec.Raw(b"false")


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Answer(msgspec.Struct):
    kv_transfer_params: dict[str, msgspec.Raw] | None = None
    usage: _Usage | None = None


class Prefilled(msgspec.Struct, frozen=True, kw_only=True):
    """What a prefill worker answered: where the prompt's state is, as it wrote it, and the prompt's true length."""

    params: msgspec.Raw
    prompt_tokens: int = 0


_ANSWERS: Final = msgspec.json.Decoder(_Answer)


def prefill_request(fields: Fields) -> bytes:
    """Give the body for the prefill worker: the same prompt, one token, not streamed."""
    wrong = {name for name, usual in _USUAL.items() if name in fields and not usual.fullmatch(bytes(fields[name]))}
    changed = {name: value for name, value in fields.items() if name not in _UNWANTED or name in wrong}
    ours = {name: _ONE for name in _LIMITS if name in fields} | {_LIMITS[0]: _ONE, "stream": _FALSE, PARAMS: _ASKED}
    return msgspec.json.encode(changed | {name: value for name, value in ours.items() if name not in wrong})


def prefilled(answer: bytes) -> Prefilled | None:
    """Read the prefill worker's answer; None where it names no state to be pulled."""
    try:
        read = _ANSWERS.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not read.kv_transfer_params:
        return None
    return Prefilled(
        params=msgspec.Raw(msgspec.json.encode(read.kv_transfer_params)),
        prompt_tokens=read.usage.prompt_tokens if read.usage else 0,
    )


def decode_request(fields: Fields, params: msgspec.Raw) -> bytes:
    """Give the body for the decode worker: the client's own, and where the prompt's state is."""
    return msgspec.json.encode({**fields, PARAMS: params})
