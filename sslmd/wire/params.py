"""The parameters of each method, and their checks. The daemon's edge."""

from __future__ import annotations

from collections.abc import Mapping

from sslmd.wire.messages import ErrorCode, Method, RpcRequest, WireError, quoted

# Unknown parameters are refused: a mistyped "dry_run" must not order a certificate.
PARAMS: Mapping[Method, tuple[str, ...]] = {
    Method.STATUS: ("certs",),
    Method.CONFIG: (),
    Method.SHOW: ("cert",),
    Method.PLAN: ("certs",),
    Method.EVENTS: ("certs", "follow"),
    Method.RENEW: ("certs", "all", "force", "reuse", "new_key", "test", "dry_run", "wait"),
    Method.REPLACE: ("ca", "all", "revoked", "dry_run", "forecast", "wait"),
    Method.ROLL: ("certs", "force", "back", "min_roll_mins", "wait"),
    Method.DELIVER: ("certs", "to", "wait"),
    Method.RESTART: ("class", "to", "wait"),
    Method.DNS_REFRESH: ("certs",),
    Method.DANE: ("certs", "now"),
    Method.CLEAN: ("certs", "keep", "inactive"),
    Method.RELOAD: (),
    Method.CANCEL: ("certs",),
    Method.FORGET: ("host", "leaving"),
    Method.CHALLENGE: ("order", "action", "name", "value", "token", "remaining"),
    Method.HTTP_TEST: (),
    Method.ACCOUNTS: ("of",),
    Method.ACCOUNT: ("action", "of", "all", "emails", "sure"),
    Method.METRICS: (),
    Method.ALARMS: (),
    Method.SILENCE: ("what", "seconds", "why", "end"),
    Method.NOTIFY: ("name",),
    Method.PING: (),
}

# Characters. The longest is an http-01 value: a token and a hash.
MAX_TEXT = 1024
MAX_TEXTS = 20


class Params:
    """The parameters of one request, each read with its check.

    Every method raises `WireError` (`INVALID_PARAMS`) naming the parameter.
    """

    def __init__(self, request: RpcRequest) -> None:
        """Check the names; raise `WireError` for an unknown method or parameter."""
        self._id = request.id
        self._values = request.params
        try:
            self.method = Method(request.method)
        except ValueError:
            text = f"there is no method {quoted(request.method)}"
            raise WireError(ErrorCode.METHOD_NOT_FOUND, text, id=request.id) from None
        known = PARAMS[self.method]
        for name in request.params:
            if name not in known:
                hint = f"it takes {', '.join(known)}" if known else "it takes none"
                raise self._wrong(f"{self.method} has no parameter {quoted(name)}; {hint}")

    def certs(self) -> tuple[str, ...] | None:
        """Return `certs` as typed by the user, None for all certificates."""
        value = self._values.get("certs")
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self._wrong("certs must be a list of names, or null for all")
        if not value:
            raise self._wrong("certs is an empty list; leave it out to mean all")
        return tuple(value)

    def cert(self) -> str:
        """Return `cert`, as typed by the user."""
        value = self._values.get("cert")
        if not isinstance(value, str) or not value:
            raise self._wrong("cert must be the name of a certificate")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return the boolean `name`; `default` where it is left out."""
        if name not in PARAMS[self.method]:
            raise AssertionError(f"{self.method} is not declared to have {name}")
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(f"{name} must be true or false")
        return value

    def text(self, name: str) -> str:
        """Return the text `name`, "" where it is left out."""
        value = self._values.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self._wrong(f"{name} must be a text of at most {MAX_TEXT} characters")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the list of texts `name`, () where it is left out."""
        value = self._values.get(name, [])
        if (
            not isinstance(value, list)
            or len(value) > MAX_TEXTS
            or not all(isinstance(one, str) and 0 < len(one) <= MAX_TEXT for one in value)
        ):
            raise self._wrong(f"{name} must be a list of at most {MAX_TEXTS} texts")
        return tuple(value)

    def count(self, name: str) -> int:
        """Return the whole number `name`, 0 or more; 0 where it is left out."""
        value = self._values.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(f"{name} must be a whole number, 0 or more")
        return value

    def count_if_given(self, name: str) -> int | None:
        """Return the whole number `name`, 0 or more; None where it is left out or null."""
        return None if self._values.get(name) is None else self.count(name)

    def _wrong(self, text: str) -> WireError:
        return WireError(ErrorCode.INVALID_PARAMS, text, id=self._id)
