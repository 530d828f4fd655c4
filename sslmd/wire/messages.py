"""JSON-RPC 2.0 messages, parsed once at the edge and refused whole if anything is wrong.

Names and numbers here are what other programs depend on; docs/socket-api.md describes them.
Plain classes: `dataclasses` alone would cost `sslmctl` a tenth of its start-up time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum

from sslmd.core.plain import is_plain, plain_values

TYPE_CHECKING = False  # type checkers know the name; `typing` itself is slow to import
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Json: TypeAlias = Any  # what json.loads gives: looked at before it is used
else:
    Json = object

API = 1
SOCKET_PATH = "/run/sslmd/sslmd.sock"
SOCKET_ENV = "SSLMD_SOCKET"
SOCKET_GROUP = "sslmd"

Id = int | str | None


class Method(StrEnum):
    """What a client can ask."""

    STATUS = "status"
    CONFIG = "config"
    SHOW = "show"
    PLAN = "plan"
    EVENTS = "events"
    RENEW = "renew"
    REPLACE = "replace"
    ROLL = "roll"
    DELIVER = "deliver"
    RESTART = "restart"
    DNS_REFRESH = "dns_refresh"
    DANE = "dane"
    CLEAN = "clean"
    RELOAD = "reload"
    CANCEL = "cancel"
    FORGET = "forget"
    CHALLENGE = "challenge"
    HTTP_TEST = "http_test"
    ACCOUNTS = "accounts"
    ACCOUNT = "account"
    METRICS = "metrics"
    ALARMS = "alarms"
    SILENCE = "silence"
    NOTIFY = "notify"
    PING = "ping"


class Notice(StrEnum):
    """What the daemon sends unasked, or while a request runs."""

    HELLO = "hello"
    PROGRESS = "progress"
    EVENT = "event"
    PLACED = "placed"


class ErrorCode(IntEnum):
    """Why a request was refused: JSON-RPC 2.0 §5.1, and our own below -32000."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    REFUSED = -32001
    NOT_PERMITTED = -32002
    UNKNOWN_CERT = -32003
    CONFIG_REFUSED = -32004
    LIMIT = -32005
    STOPPING = -32006


class Outcome(StrEnum):
    """How a renewal or roll of one certificate ended."""

    DONE = "done"
    FAILED = "failed"
    UNNEEDED = "unneeded"
    ACCEPTED = "accepted"
    WAITING = "waiting"


class WireError(Exception):
    """A message that is refused, or the refusal that the other side sent.

    `code` is one of `Code`, or another number from the other side; `id` is that of the request
    at fault, None where it could not be read; `data` as in the error object.
    """

    def __init__(self, code: int, text: str, *, data: Json = None, id: Id = None) -> None:  # noqa: A002
        super().__init__(text)
        self.code = code
        self.text = text
        self.data = data
        self.id = id

    def response(self) -> Response:
        """Return the response that tells the client."""
        return Response(self.id, error=self)


class Notification:
    """A message that wants no answer."""

    __slots__ = ("method", "params")

    def __init__(self, method: str, params: Mapping[str, Json] | None = None) -> None:
        self.method = method
        self.params: dict[str, Json] = dict(params or {})


class RpcRequest:
    """A message that wants one `Response` with the same `id`."""

    __slots__ = ("id", "method", "params")

    def __init__(self, id: Id, method: str, params: Mapping[str, Json] | None = None) -> None:  # noqa: A002
        self.id = id
        self.method = method
        self.params: dict[str, Json] = dict(params or {})


class Response:
    """The answer to a request: `result`, or `error`."""

    __slots__ = ("error", "id", "result")

    def __init__(self, id: Id, result: Json = None, *, error: WireError | None = None) -> None:  # noqa: A002
        self.id = id
        self.result = result
        self.error = error


Message = RpcRequest | Notification | Response


def hello(version: str) -> Notification:
    """Return the daemon's greeting."""
    return Notification(Notice.HELLO, {"daemon": "sslmd", "version": version, "api": API})


def encode(message: Message) -> bytes:
    """Return `message` as one line with its newline.

    Half characters (a file name that is not UTF-8, in an error's text) become `?`. Raises
    ValueError for NaN and infinity, TypeError for what JSON has no form for.
    """
    return _line(message, lambda value: value)


def encode_plain(message: Notification | Response) -> bytes:
    """Return what the daemon says as one line: every text in it is plain, whoever's words it has.

    The `id` is the client's own, and given back as it came.
    """
    return _line(message, plain_values)


def _line(message: Message, made: Callable[[Json], Json]) -> bytes:
    value: dict[str, Json] = {"jsonrpc": "2.0"}
    if not isinstance(message, Notification):
        value["id"] = message.id
    if not isinstance(message, Response):
        value |= {"method": message.method, "params": made(message.params)}
    elif message.error is None:
        value["result"] = made(message.result)  # last: `raw_result` counts on it
    else:
        error = {"code": int(message.error.code), "message": message.error.text}
        more = {} if message.error.data is None else {"data": message.error.data}
        value["error"] = made(error | more)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


def raw_result(line: bytes, id: int) -> bytes | None:  # noqa: A002
    """Cut the result out of a response as `encode` writes it, without parsing it.

    None where the line is anything else; `parse_message` then tells what it is.
    """
    head = b'{"jsonrpc":"2.0","id":%d,"result":' % id
    return line[len(head) : -1] if line.startswith(head) and line.endswith(b"}") else None


def parse_message(line: bytes) -> Message:
    """Parse one line; raise `WireError`, and nothing else, for what is not a message."""
    value = _parse_json(line)
    if isinstance(value, list):
        raise WireError(ErrorCode.INVALID_REQUEST, "batches are not served; send one by one")
    if not isinstance(value, dict):
        raise WireError(ErrorCode.INVALID_REQUEST, "a message must be a JSON object")
    ident = value.get("id")
    if not (ident is None or (isinstance(ident, int | str) and not isinstance(ident, bool))):
        raise WireError(ErrorCode.INVALID_REQUEST, "id must be a whole number, a string or null")
    try:
        return _response(value, ident) if "method" not in value else _call(value, ident)
    except WireError as err:
        err.id = ident
        raise


def parse_request(line: bytes, *, longest_id: int, brackets: int) -> RpcRequest:
    """Parse one line of somebody who may send anything; raise `WireError` for all but a request.

    `longest_id`: characters or digits of an `id`, which is sent back; `brackets`: arrays and
    objects, which a request has few of, and which are what parsing costs most for.
    """
    if line.count(b"{") + line.count(b"[") > brackets:
        text = f"a request may have {brackets} arrays and objects at most, nested deeply or not"
        raise WireError(ErrorCode.PARSE_ERROR, text)
    try:
        message = parse_message(line)
    except WireError as err:
        if not _is_short(err.id, longest_id):
            err.id = None
        raise
    if not isinstance(message, RpcRequest):
        text = "only requests are served: a method and an id"
        raise WireError(ErrorCode.INVALID_REQUEST, text)
    if not _is_short(message.id, longest_id):
        text = f"id may have {longest_id} printable characters or digits at most"
        raise WireError(ErrorCode.INVALID_REQUEST, text)
    return message


def _is_short(ident: Id, most: int) -> bool:
    if isinstance(ident, int):
        return bool(abs(ident) < 10**most)
    return ident is None or (len(ident) <= most and is_plain(ident))


def _call(value: dict[str, Json], ident: Id) -> RpcRequest | Notification:
    _check_members(value, ("id", "method", "params"))
    method, params = value["method"], value.get("params", {})
    if not isinstance(method, str):
        raise WireError(ErrorCode.INVALID_REQUEST, "method must be a string")
    if not isinstance(params, dict):
        raise WireError(ErrorCode.INVALID_PARAMS, "params must be an object: parameters have names")
    return RpcRequest(ident, method, params) if "id" in value else Notification(method, params)


def _response(value: dict[str, Json], ident: Id) -> Response:
    _check_members(value, ("id", "result", "error"))
    if "id" not in value or ("result" in value) == ("error" in value):
        raise WireError(
            ErrorCode.INVALID_REQUEST, "a message has a method, or an id and either result or error"
        )
    if "result" in value:
        return Response(ident, value["result"])
    error = value["error"]
    code = error.get("code") if isinstance(error, dict) else None
    text = error.get("message") if isinstance(error, dict) else None
    if not isinstance(code, int) or isinstance(code, bool) or not isinstance(text, str):
        raise WireError(ErrorCode.INVALID_REQUEST, "error must have a code and a message")
    return Response(ident, error=WireError(code, text, data=error.get("data"), id=ident))


def _check_members(value: dict[str, Json], known: tuple[str, ...]) -> None:
    if value.get("jsonrpc") != "2.0":
        raise WireError(ErrorCode.INVALID_REQUEST, 'jsonrpc must be "2.0"')
    # A mistyped "param" must not turn "renew this one" into "renew all".
    for name in value:
        if name != "jsonrpc" and name not in known:
            raise WireError(ErrorCode.INVALID_REQUEST, f"a message has no member {quoted(name)}")


def _parse_json(line: bytes) -> Json:
    try:
        text = line.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        if "\\u" in text:
            # RFC 8259 §8.2: half of a surrogate pair is no character and cannot be sent on.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise WireError(ErrorCode.PARSE_ERROR, "the JSON is nested too deeply") from None
    except ValueError as err:
        # Without the text itself, which may be long and anything at all.
        detail = err.msg if isinstance(err, json.JSONDecodeError) else _why_not(err)
        raise WireError(ErrorCode.PARSE_ERROR, f"not a line of JSON in UTF-8: {detail}") from None
    return value


def _why_not(err: ValueError) -> str:
    if isinstance(err, UnicodeDecodeError):
        return f"byte {err.start} is not UTF-8"
    if isinstance(err, UnicodeEncodeError):
        return "it holds half of a surrogate pair"
    return str(err)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object names a member twice")
    return value


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError("a number is too large")
    return value


def quoted(text: str) -> str:
    """Return `text` quoted for a message: control characters escaped, not endless."""
    from sslmd.core.names import shown  # only for errors: names is slow to import

    return shown(text)
