import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.openai import ITEMISED_BYTES, BadBody, BodyReader, ModelRequest, error_body, model_list, model_not_found

READER = BodyReader()


def asked(body: bytes) -> tuple[str, bool]:
    read = READER.read(body)
    assert isinstance(read, ModelRequest), read
    return read.model, read.stream


CHAT = {"messages": [{"role": "user", "content": "Hello, the model speaks"}], "temperature": 0.5}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "x", "y"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        ({"model": "m"}, "m", False),
        ({"model": "m", "stream": True, **CHAT}, "m", True),
        ({**CHAT, "stream": False, "model": "org/m:1"}, "org/m:1", False),
        ({"model": "modèle", "x": {"model": "nested", "y": [{"model": 1}]}}, "modèle", False),
        ({"model": "m", "stream": "yes"}, "m", False),
    ],
)
def test_a_request_is_read_for_its_model_and_stream_flag(body: Any, model: str, *, stream: bool) -> None:
    for ascii_only in (True, False):
        encoded = json.dumps(body, ensure_ascii=ascii_only).encode()
        assert asked(encoded) == (model, stream)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b" \r\n", "empty_body"),
        (b"hello", "invalid_json"),
        (b'{"model": "m"', "invalid_json"),
        (b'{"model": "m"} {}', "invalid_json"),
        (b'{"model": "m",}', "invalid_json"),
        (b'{"model": "m", "x": nul}', "invalid_json"),
        (b'{"model": "m", "x": "a\nb"}', "invalid_json"),
        (b"\xef\xbb\xbf" + b'{"model": "m"}', "invalid_json"),
        (b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
        (b"[]", "invalid_body"),
        (b'"model"', "invalid_body"),
        (b"{}", "missing_model"),
        (b'{"Model": "m", "x": {"model": "m"}}', "missing_model"),
        (b'{"model": null}', "invalid_model"),
        (b'{"model": ["m"]}', "invalid_model"),
        (b'{"model": 5}', "invalid_model"),
        (b'{"model": ""}', "invalid_model"),
        (b'{"model": "a", "model": "b"}', "duplicate_model"),
        (b'{"model": "a", "model": "a"}', "duplicate_model"),
        (b'{"model": null, "model": "a"}', "duplicate_model"),
        (b'{"model": "a", "x": 1, "mod\\u0065l": "b"}', "duplicate_model"),
        (b'{"\\u006Dodel": "a", "model": "b"}', "duplicate_model"),
        (b'{"model": "\xff"}', "invalid_utf8"),
        (b'{"model": "m", "messages": "\xc3("}', "invalid_utf8"),
        ('{"model": "m"}'.encode("utf-16"), "invalid_utf8"),
    ],
)
def test_a_body_that_two_readers_could_understand_differently_is_refused(body: bytes, code: str) -> None:
    read = READER.read(body)
    assert isinstance(read, BadBody)
    assert read.code == code
    assert read.why.endswith(".")


def test_the_escaped_key_counts_as_the_key() -> None:
    assert asked(b'{"mod\\u0065l": "m"}') == ("m", False)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda k: k != "model"), json_values))
def test_whatever_else_a_body_holds_its_model_is_found(others: dict[str, Any]) -> None:
    assert asked(json.dumps({**others, "model": "m"}).encode()) == ("m", others.get("stream") is True)


@given(st.lists(st.tuples(st.sampled_from(["model", "x", "mod\\u0065l"]), json_values), max_size=6))
def test_a_model_is_believed_only_when_it_stands_once(pairs: list[tuple[str, Any]]) -> None:
    body = "{" + ",".join(f'"{key}":{json.dumps(value)}' for key, value in pairs) + "}"
    models = [value for key, value in pairs if key != "x"]
    read = READER.read(body.encode())
    if len(models) == 1 and isinstance(models[0], str) and models[0]:
        assert isinstance(read, ModelRequest)
        assert read.model == models[0]
    else:
        assert isinstance(read, BadBody)


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_raise(body: bytes) -> None:
    assert isinstance(READER.read(body), BadBody | ModelRequest)


def test_errors_have_the_form_that_clients_of_openai_read() -> None:
    assert json.loads(error_body("No.", kind="invalid_request_error", code="c", param="p")) == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "p", "code": "c"}
    }
    error = json.loads(model_not_found("gpt-5" * 200, ["b", "a"]))["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"].endswith("does not exist. Models served here: `a`, `b`.")
    assert len(error["message"]) < 300


def test_models_are_listed_in_order() -> None:
    listed = json.loads(model_list(["b", "a"]))
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    assert {model["object"] for model in listed["data"]} == {"model"}


def parts(body: bytes) -> list[bytes]:
    read = READER.read(body)
    assert isinstance(read, ModelRequest), read
    return [bytes(memoryview(part)) for part in read.parts]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m","messages":[{"a": 1}, {"b":2}]}', [b'{"a": 1}', b'{"b":2}']),
        (b'{"messages":[1],"model":"m","tools":[{"t":1}]}', [b'[{"t":1}]', b"1"]),
        (b'{"model":"m","system":"s","messages":[1,2]}', [b'"s"', b"1", b"2"]),
        (b'{"model":"m","instructions":"i","input":"text"}', [b'"i"', b'"text']),
        (b'{"model":"m","input":[{"x":1},2]}', [b'{"x":1}', b"2"]),
        (b'{"model":"m","prompt":"Once upon"}', [b'"Once upon']),
        (b'{"model":"m","prompt":[1,2,3]}', [b"[1,2,3"]),
        (b'{"model":"m","messages":[]}', []),
        (b'{"model":"m","messages":"odd"}', [b'"odd']),
        (b'{"model":"m","messages":null,"tools":null}', []),
        (b'{"model":"m"}', []),
    ],
)
def test_the_prompt_is_given_in_its_parts_as_it_stands(body: bytes, expected: list[bytes]) -> None:
    assert parts(body) == expected


def test_what_may_share_a_cache_is_said_by_the_salt() -> None:
    read = READER.read(b'{"model":"m","cache_salt":"tenant"}')
    assert isinstance(read, ModelRequest)
    assert read.salt == "tenant"
    assert asked(b'{"model":"m","cache_salt":7}') == ("m", False)


def test_messages_of_a_large_body_are_not_told_apart() -> None:
    many = b"[" + b"0," * ITEMISED_BYTES + b"0]"
    assert parts(b'{"model":"m","messages":%s}' % many) == [many[:-1]]
