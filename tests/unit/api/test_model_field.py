"""One field of a body is changed, and not one byte besides."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.model_field import EVENTS, JSON_LINES, AnswerNaming, with_model
from argosy.api.openai import BodyReader, ModelRequest

MODEL_KEYS = st.sampled_from(['"model"', '"mod\\u0065l"', '"\\u006d\\u006F\\u0064\\u0065\\u006c"'])
SPACES = st.sampled_from(["", " ", "\n\t", "\r\n  "])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"model":"m"', "model", "\\", '\\"', '{"model":"m"}', "\\\\", "data: "]
)
SCALARS = TEXTS | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
KEYS = TEXTS | st.sampled_from(["model", "response", "message", "messages", "choices"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def objects(draw: st.DrawFn, fields: list[tuple[str, Any]]) -> tuple[str, ...]:
    """Write fields as an object in pieces, with any space between what it is made of, anything escaped or not."""
    pieces = [draw(SPACES), "{", draw(SPACES)]
    for number, (key, value) in enumerate(fields):
        text = value if isinstance(value, tuple) else (json.dumps(value, ensure_ascii=draw(st.booleans())),)
        pieces += [draw(SPACES), key, draw(SPACES), ":", draw(SPACES), *text, draw(SPACES)]
        pieces.append("," if number < len(fields) - 1 else "")
    return (*pieces, "}", draw(SPACES))


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str]:
    """Give a body as what stands before the model, the model, and what stands behind it."""
    others = draw(st.dictionaries(KEYS.filter(lambda key: key != "model"), VALUES, max_size=4))
    fields: list[tuple[str, Any]] = [(json.dumps(key), value) for key, value in others.items()]
    model = json.dumps(draw(NAMES), ensure_ascii=draw(st.booleans()))
    fields.insert(draw(st.integers(0, len(fields))), (draw(MODEL_KEYS), ("\0", model, "\0")))
    before, named, behind = "".join(draw(objects(fields))).split("\0")
    return before, named, behind


@given(requests(), NAMES)
def test_a_request_names_another_model_and_is_the_same_besides(request_: tuple[str, str, str], model: str) -> None:
    before, named, behind = (part.encode() for part in request_)
    body = before + named + behind
    assert isinstance(BodyReader().read(body), ModelRequest)
    written = with_model(body, model)
    assert written[: len(before)] == before
    assert written[len(written) - len(behind) :] == behind
    assert json.loads(written[len(before) : len(written) - len(behind)]) == model


def test_the_same_bytes_elsewhere_stay() -> None:
    body = b'{"a":{"model":"m"},"model":"m","messages":[{"model":"m"},"\\"model\\":\\"m\\""]}'
    assert with_model(body, 'q"') == body.replace(b',"model":"m",', b',"model":"q\\"",')


def cut_at(content: bytes, places: list[int]) -> list[bytes]:
    """Cut at these places, some of which may be the same: then there is an empty piece."""
    ends = sorted(min(place, len(content)) for place in places)
    return [content[begin:end] for begin, end in zip([0, *ends], [*ends, len(content)], strict=True)]


def named(pieces: list[bytes], model: str, lines: bytes | None = None) -> bytes:
    naming = AnswerNaming(model, lines)
    return b"".join(naming.take(piece) for piece in pieces)


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """Give a document of an answer in pieces, of which every second is the model in a field that counts."""

    def fields(depth: int) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        for _ in range(draw(st.integers(0, 4))):
            key = draw(st.sampled_from(["model", "response", "message", "choices", "usage"]))
            if key == "model" and draw(st.booleans()):
                found.append((draw(MODEL_KEYS), ("\0", json.dumps(draw(TEXTS)).replace("\0", ""), "\0")))
            elif key == "model":
                found.append((draw(MODEL_KEYS), draw(VALUES.filter(lambda value: not isinstance(value, str)))))
            elif key in ("response", "message") and depth == 1 and draw(st.booleans()):
                found.append((json.dumps(key), draw(objects(fields(2)))))
            elif key in ("response", "message"):
                found.append((json.dumps(key), draw(st.lists(VALUES, max_size=2) | SCALARS)))
            else:
                found.append((json.dumps(key), draw(st.just({"model": "deep", "message": {"model": "m"}}) | VALUES)))
        return found

    return "".join(draw(objects(fields(1)))).split("\0")


PLACES = st.lists(st.integers(0, 400), max_size=20)
LINES = st.sampled_from([None, EVENTS, JSON_LINES])


def written(document: list[str], model: str | None = None) -> bytes:
    """Write a document, with another model in the first of its fields that count."""
    before, *behind = document
    name = [] if model is None or not behind else [msgspec.json.encode(model).decode()]
    return "".join((before, *name, *behind[len(name) :])).encode()


@given(documents(), NAMES, PLACES)
def test_an_answer_names_the_model_wherever_it_is_cut(document: list[str], model: str, places: list[int]) -> None:
    content, expected = written(document), written(document, model)
    assert named([content], model) == expected
    assert named(cut_at(content, places), model) == expected


@given(st.lists(documents(), max_size=4), NAMES, PLACES, st.sampled_from([EVENTS, JSON_LINES]))
def test_each_line_of_an_answer_names_the_model_wherever_it_is_cut(
    found: list[list[str]], model: str, places: list[int], beginning: bytes
) -> None:
    def lines(model: str | None) -> bytes:
        flat = (written([re.sub(r"[\r\n]", " ", piece) for piece in each], model) for each in found)
        return b"".join(b"%b%b\n\n: {}\r\n" % (beginning, document) for document in flat)

    assert named([lines(None)], model, beginning) == lines(model)
    assert named(cut_at(lines(None), places), model, beginning) == lines(model)


ANSWER = (
    b'{"id":"a\\"b\\\\","model":"m\\"\\\\","choices":[{"model":"q","message":{"model":"z"}}],"message":{"model":"k"}}'
)
NAMED = b'{"id":"a\\"b\\\\","model":"new","choices":[{"model":"q","message":{"model":"z"}}],"message":{"model":"k"}}'


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_each_event_is_a_document_wherever_the_stream_is_cut(end: bytes) -> None:
    first = b'event: message_start%bdata: {"type":"message_start","message":{"model":"m","id":1}}%b%b' % (end, end, end)
    rest = b": %b%bdata:%b%bid: %b%bdata: [DONE]%b%bdata: {%b%b" % (
        ANSWER,
        end,
        ANSWER,
        end,
        ANSWER,
        end,
        end,
        end,
        end,
        end,
    )
    rest += b'data: {"model":"it ends within%b' % end
    content = first + rest + b"data: " + ANSWER
    expected = (
        first.replace(b'"m"', b'"new"')
        + rest.replace(b"data:" + ANSWER, b"data:" + NAMED).replace(b'"it ends within', b'"new"')
        + b"data: "
        + NAMED
    )
    for place in range(len(content) + 1):
        assert named([content[:place], content[place:]], "new", EVENTS) == expected
    assert named([content[at : at + 1] for at in range(len(content))], "new", EVENTS) == expected


@given(
    content=st.binary(max_size=80) | st.text('"\\{}[]:,model \n', max_size=80).map(str.encode),
    lines=LINES,
    draw=st.data(),
)
def test_whatever_an_answer_is_it_passes_alike_however_it_is_cut(
    content: bytes, draw: st.DataObject, lines: bytes | None
) -> None:
    places = draw.draw(st.lists(st.integers(0, 80), max_size=20))
    assert named(cut_at(content, places), "n", lines) == named([content], "n", lines)


@given(content=st.binary(max_size=200).filter(lambda content: b'"' not in content), lines=LINES)
def test_what_has_no_strings_passes_as_the_very_same_bytes(content: bytes, lines: bytes | None) -> None:
    assert AnswerNaming("n", lines).take(content) is content


def test_nothing_is_held_back() -> None:
    naming = AnswerNaming("new")
    assert [naming.take(piece) for piece in (b'{"mod', b'el": "', b"ol", b"d\\", b'"x', b'", "a": 1', b"}")] == [
        b'{"mod',
        b'el": "new"',
        b"",
        b"",
        b"",
        b', "a": 1',
        b"}",
    ]


def test_a_key_of_any_length_is_no_model_and_costs_no_memory() -> None:
    naming = AnswerNaming("new")
    pieces = [b'{"', *[b"model" * 100] * 50, b'":"x","model":"y","model":"z"}']
    assert b"".join(naming.take(piece) for piece in pieces) == b"".join(pieces).replace(b'"y"', b'"new"')
    assert len(naming._key) < 200
