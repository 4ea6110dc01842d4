import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argosy.engines import nixlv2, sglang

BODY = (
    b'{"model": "m", "messages": [{"role": "user", "content": "Say \\u00e9."}], "stream": true, "max_tokens": 40, '
    b'"stream_options": {"include_usage": true}, "min_tokens": 4, "temperature": 0}'
)

EXCHANGES = sorted((Path(__file__).parent / "exchanges").glob("nixlv2_*.json"))
"""What went between a client, real engines and this module: each a `request` and what it became, in turn."""


def fields(body: bytes) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(body, type=dict[str, msgspec.Raw])


def test_a_prefill_request_is_the_same_prompt_for_one_token_in_one_piece() -> None:
    asked = json.loads(nixlv2.prefill_request(fields(BODY)))
    params = asked.pop("kv_transfer_params")
    assert asked == {
        "model": "m",
        "messages": [{"role": "user", "content": "Say é."}],
        "stream": False,
        "max_tokens": 1,
        "temperature": 0,
    }
    assert params == {
        "do_remote_decode": True,
        "do_remote_prefill": False,
        "remote_engine_id": None,
        "remote_block_ids": None,
        "remote_host": None,
        "remote_port": None,
    }


def test_both_limits_of_tokens_are_one_where_a_client_names_the_newer_one() -> None:
    asked = json.loads(nixlv2.prefill_request(fields(b'{"model": "m", "max_completion_tokens": 9}')))
    assert (asked["max_tokens"], asked["max_completion_tokens"]) == (1, 1)


def test_a_decode_request_is_the_clients_own_and_where_the_state_is() -> None:
    answer = {"usage": {"prompt_tokens": 7}, "kv_transfer_params": {"remote_port": 5600, "remote_block_ids": [[1, 2]]}}
    found = nixlv2.prefilled(json.dumps(answer).encode())
    assert found is not None
    assert found.prompt_tokens == 7
    sent = json.loads(nixlv2.decode_request(fields(BODY), found.params))
    assert sent.pop("kv_transfer_params") == answer["kv_transfer_params"]
    assert sent == json.loads(BODY)


@pytest.mark.parametrize("path", EXCHANGES, ids=lambda path: path.stem)
def test_an_exchange_with_real_engines_is_made_again_word_for_word(path: Path) -> None:
    exchange = json.loads(path.read_bytes())
    asked = fields(json.dumps(exchange["request"]).encode())
    assert json.loads(nixlv2.prefill_request(asked)) == exchange["prefill_request"]
    found = nixlv2.prefilled(json.dumps(exchange["prefill_answer"]).encode())
    assert found is not None
    assert json.loads(bytes(found.params)) == exchange["prefill_answer"]["kv_transfer_params"]
    assert found.prompt_tokens == exchange["decode_answer"]["usage"]["prompt_tokens"]
    assert json.loads(nixlv2.decode_request(asked, found.params)) == exchange["decode_request"]


def test_there_are_recorded_exchanges() -> None:
    assert [path.stem for path in EXCHANGES] == ["nixlv2_vllm_0_32"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_completion_tokens", "many"),
        ("stream", "yes"),
        ("stream_options", "x"),
        ("min_tokens", -1),
    ],
)
def test_what_is_wrong_with_a_request_stays_wrong_so_that_no_prompt_is_computed_for_it(name: str, value: Any) -> None:
    asked = json.loads(nixlv2.prefill_request(fields(json.dumps({"model": "m", name: value}).encode())))
    assert asked[name] == value


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"kv_transfer_params": null}',
        b'{"kv_transfer_params": {}}',
        b'{"kv_transfer_params": "here"}',
        b'{"usage": {"prompt_tokens": 3}}',
        b'{"kv_transfer_params": {"a": \xff}}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_names_no_state_is_none(answer: bytes) -> None:
    assert nixlv2.prefilled(answer) is None


def test_sglangs_workers_get_the_same_request_with_the_room_where_they_meet() -> None:
    sent: dict[str, Any] = json.loads(sglang.paired_request(fields(BODY), host="10.0.0.1", port=8998, room=2**62))
    meeting = {name: sent.pop(name) for name in sglang.BOOTSTRAP_FIELDS}
    assert meeting == {"bootstrap_host": "10.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 2**62}
    assert sent == json.loads(BODY)
