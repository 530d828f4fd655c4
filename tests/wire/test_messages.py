"""What is a message and what is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmd.wire.framing import FrameReader
from sslmd.wire.messages import (
    ErrorCode,
    Message,
    Notification,
    Response,
    RpcRequest,
    WireError,
    encode,
    encode_plain,
    hello,
    parse_message,
    parse_request,
    raw_result,
)

characters = st.characters(codec="utf-8")
texts = st.text(characters, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(texts, values, max_size=4)
idents = st.none() | st.integers() | texts
errors = st.builds(
    lambda code, text, data: WireError(code, text, data=data), st.integers(), texts, values
)
messages = st.one_of(
    st.builds(RpcRequest, idents, texts, objects),
    st.builds(Notification, texts, objects),
    st.builds(Response, idents, values),
    st.builds(lambda ident, error: Response(ident, error=error), idents, errors),
)


@given(messages)
def test_what_is_encoded_is_parsed_again(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    again = parse_message(line[:-1])
    assert type(again) is type(message)
    assert encode(again) == line


@given(st.lists(messages, max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_any_chunking_gives_the_same_messages(sent: list[Message], places: list[int]) -> None:
    data = b"".join(map(encode, sent))
    marks = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    reader = FrameReader()
    lines = [line for a, b in pairwise(marks) for line in reader.feed(data[a:b])]
    assert [encode(parse_message(line)) for line in lines] == list(map(encode, sent))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_wire_errors(data: bytes) -> None:
    try:
        parse_message(data)
    except WireError as err:
        encode(err.response())


@given(
    st.dictionaries(
        st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "other"]),
        values | st.just("2.0") | st.just({"code": 1, "message": "no"}),
    )
)
def test_arbitrary_objects_raise_nothing_but_wire_errors(value: dict[str, Any]) -> None:
    try:
        message = parse_message(json.dumps(value).encode())
    except WireError as err:
        encode(err.response())
    else:
        encode(message)


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        (b"", ErrorCode.PARSE_ERROR, "not a line of JSON"),
        (b"{", ErrorCode.PARSE_ERROR, "not a line of JSON"),
        (b"\xff", ErrorCode.PARSE_ERROR, "byte 0 is not UTF-8"),
        (b'{"a":1,"a":2}', ErrorCode.PARSE_ERROR, "twice"),
        (b'{"a":NaN}', ErrorCode.PARSE_ERROR, "NaN"),
        (b'{"a":-Infinity}', ErrorCode.PARSE_ERROR, "Infinity"),
        (b'{"a":1e999}', ErrorCode.PARSE_ERROR, "too large"),
        (b'{"a":' + b"9" * 5000 + b"}", ErrorCode.PARSE_ERROR, "limit"),
        (rb'{"a":"\ud800"}', ErrorCode.PARSE_ERROR, "surrogate"),
        (b"[" * 500_000, ErrorCode.PARSE_ERROR, "deeply"),
        (b'{"a":' * 150_000, ErrorCode.PARSE_ERROR, "deeply"),
        (b"[]", ErrorCode.INVALID_REQUEST, "batches"),
        (b"1", ErrorCode.INVALID_REQUEST, "object"),
        (b'{"id":1,"method":"status"}', ErrorCode.INVALID_REQUEST, "jsonrpc"),
        (b'{"jsonrpc":2.0,"id":1,"method":"status"}', ErrorCode.INVALID_REQUEST, "jsonrpc"),
        (b'{"jsonrpc":"2.0","id":true,"method":"status"}', ErrorCode.INVALID_REQUEST, "id must"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"status"}', ErrorCode.INVALID_REQUEST, "id must"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', ErrorCode.INVALID_REQUEST, "method must"),
        (b'{"jsonrpc":"2.0","id":1}', ErrorCode.INVALID_REQUEST, "has a method"),
        (b'{"jsonrpc":"2.0","id":1,"result":1,"error":{}}', ErrorCode.INVALID_REQUEST, "either"),
        (b'{"jsonrpc":"2.0","id":1,"error":"no"}', ErrorCode.INVALID_REQUEST, "code and a message"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"renew","param":{}}',
            ErrorCode.INVALID_REQUEST,
            "param",
        ),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"show","params":["a"]}',
            ErrorCode.INVALID_PARAMS,
            "object",
        ),
    ],
)
def test_refused(line: bytes, code: ErrorCode, text: str) -> None:
    with pytest.raises(WireError, match=text) as caught:
        parse_message(line)
    assert caught.value.code == code
    assert len(caught.value.text) < 250


def test_a_refusal_carries_the_id_it_could_read() -> None:
    with pytest.raises(WireError) as caught:
        parse_message(b'{"jsonrpc":"2.0","id":"x","method":7}')
    line = encode(caught.value.response())
    answer = parse_message(line[:-1])
    assert isinstance(answer, Response)
    assert answer.id == "x"
    assert answer.error is not None
    assert answer.error.code == ErrorCode.INVALID_REQUEST


def test_an_escaped_pair_is_one_character() -> None:
    message = parse_message(rb'{"jsonrpc":"2.0","method":"x","params":{"a":"\ud83d\ude00"}}')
    assert isinstance(message, Notification)
    assert message.params == {"a": "\U0001f600"}


def test_a_file_name_that_is_not_utf8_can_be_sent() -> None:
    assert b'"a?b"' in encode(Response(1, "a\udcffb"))


def test_nan_is_never_sent() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode(Response(1, float("nan")))


def test_raw_result() -> None:
    line = encode(Response(7, {"certs": []}))[:-1]
    assert raw_result(line, 7) == b'{"certs":[]}'
    assert raw_result(line, 8) is None
    assert raw_result(encode(WireError(1, "no", id=7).response())[:-1], 7) is None


def test_hello() -> None:
    assert encode(hello("1.2.3")) == (
        b'{"jsonrpc":"2.0","method":"hello",'
        b'"params":{"daemon":"sslmd","version":"1.2.3","api":1}}\n'
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"[" * 200_000, "arrays and objects"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":[' + b"{}," * 999 + b"1]}}",
            "arrays",
        ),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 201 + b'","method":"x"}', "id may have 200"),
        (b'{"jsonrpc":"2.0","id":1' + b"0" * 200 + b',"method":"x"}', "id may have 200"),
        (rb'{"jsonrpc":"2.0","id":"\u001b[31m","method":"x"}', "printable"),
        (b'{"jsonrpc":"2.0","id":"\xe2\x80\xae","method":"x"}', "printable"),
        (b'{"jsonrpc":"2.0","method":"x"}', "a method and an id"),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 500_000 + b'","method":7}', "method must"),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}', "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":' + b"9" * 5000 + b"}}", "limit"),
    ],
)
def test_a_request_that_would_cost_more_than_its_answer(line: bytes, text: str) -> None:
    with pytest.raises(WireError, match=text) as caught:
        parse_request(line, longest_id=200, brackets=100)
    assert len(encode_plain(caught.value.response())) < 500


def test_an_id_comes_back_as_it_was() -> None:
    for ident in (0, -1, 10**199, "a b", "ä", "x" * 200, None):
        line = encode(RpcRequest(ident, "status"))
        request = parse_request(line[:-1], longest_id=200, brackets=100)
        assert json.loads(encode_plain(Response(request.id, {})))["id"] == ident
