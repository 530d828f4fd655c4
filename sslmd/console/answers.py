"""Answers of the daemon, read without trust.

A field that is missing or of the wrong kind reads as an empty one, so that another version's
answer is shown as far as it is understood; every text is `printable`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sslmd.console.text import printable
from sslmd.core.plain import span
from sslmd.core.trouble import CertStatus, ServerStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sslmd.wire.messages import Json


class Fields:
    """A JSON object."""

    __slots__ = ("_value",)

    def __init__(self, value: Json | Fields) -> None:
        if isinstance(value, Fields):
            value = value._value
        self._value: dict[str, Json] = value if isinstance(value, dict) else {}

    def __bool__(self) -> bool:
        return bool(self._value)

    def text(self, name: str) -> str:
        """Return a text, safe to print; "" for none."""
        return printable(self._value.get(name))

    def texts(self, name: str) -> list[str]:
        """Return a list of texts, safe to print."""
        return list(map(printable, self._list(name)))

    def number(self, name: str) -> int:
        """Return a whole number; 0 for none."""
        value = self._value.get(name)
        return value if isinstance(value, int) else 0

    def real(self, name: str) -> float:
        """Return a number; 0 for none."""
        value = self._value.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def flag(self, name: str) -> bool:
        """Return whether it is true."""
        return self._value.get(name) is True

    def time(self, name: str) -> datetime | None:
        """Return an RFC 3339 time."""
        value = self._value.get(name)
        if not isinstance(value, str):
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def sub(self, name: str) -> Fields:
        """Return an object; an empty one (false) for none."""
        return Fields(self._value.get(name))

    def subs(self, name: str) -> list[Fields]:
        """Return a list of objects."""
        return [Fields(one) for one in self._list(name)]

    def names(self) -> list[str]:
        """Return the names of the fields."""
        return list(self._value)

    def _list(self, name: str) -> list[Json]:
        value = self._value.get(name)
        return value if isinstance(value, list) else []


class Cert(Fields):
    """One entry of the answer to `status`.

    `curr` is the set in use, false if there is none; `not_after` is when it expires.
    """

    __slots__ = ("curr", "not_after")

    def __init__(self, value: Json | Fields) -> None:
        super().__init__(value)
        self.curr = self.sub("curr")
        self.not_after = self.curr.time("not_after")

    @property
    def name(self) -> str:
        """The certificate's name, `group/service`."""
        return f"{self.text('group')}/{self.text('service')}"

    def left(self, now: datetime) -> str:
        """Return how long the set in use lives from now on: "41 d", "expired", "none"."""
        end = self.not_after
        return "none" if end is None else span(end - now) if end > now else "expired"

    @property
    def status(self) -> CertStatus:
        """What `core.trouble` judges by."""
        dane = self.sub("dane")
        return CertStatus(
            begins=self.curr.time("not_before"),
            ends=self.not_after,
            has_next=bool(self.sub("next")),
            is_made=bool(self.text("doing")),
            unusable=self.text("unusable"),
            error=self.text("last_error"),
            about=self.text("error_about"),
            attempts=self.number("attempts"),
            next_try=self.time("next_try"),
            renew_at=self.time("renew_at"),
            roll_at=self.time("roll_at"),
            unused=self.flag("unused"),
            replace_now=self.text("replace_now"),
            servers=[server_status(server) for server in self.subs("servers")],
            dane=(dane.texts("problems"), dane.texts("warnings")),
        )


def server_status(server: Fields) -> ServerStatus:
    """Return how far one server is."""
    state = server.text("state")
    wanted = state == "restarted" and not server.flag("meant")
    return ServerStatus(
        server.text("class"),
        server.text("host"),
        state,
        error=server.text("error"),
        attempts=server.number("attempts"),
        since=server.time("since"),
        unseen=server.text("unseen") if wanted else None,
        ends=server.time("expires"),
    )


def certs_of(result: Json) -> list[Cert]:
    """Return the entries of the answer to `status`."""
    value = result.get("certs") if isinstance(result, dict) else None
    return [Cert(one) for one in value] if isinstance(value, list) else []
