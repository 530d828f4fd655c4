"""A CA that keeps open orders to itself, as Let's Encrypt does: Pebble's, through a proxy.

It lists no orders of an account. `reuses`: who asks for the names of an order that is not finalized
yet gets that order again, whatever certificate it is for.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.stand.pebble import Pebble
from tests.stand.proxy import Answer, Change, Proxy


def _payload(body: bytes, part: str = "payload") -> Any:
    text = json.loads(body)[part]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"null")


class ReusingCa(Proxy):
    """`reused`: how often it gave an order again."""

    def __init__(self, ca: Pebble, change: Change = lambda one: one, *, reuses: bool) -> None:
        super().__init__(ca, change)
        self._reuses = reuses
        self._open: dict[str, Answer] = {}
        self.reused = 0

    def upstream(
        self, ca: Pebble, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> Answer:
        if path == "/order-plz" and self._reuses:
            key = json.dumps([_payload(body, "protected")["kid"], _payload(body)["identifiers"]])
            if (known := self._open.get(key)) is not None:
                self.reused += 1
                fresh = super().upstream(ca, "HEAD", "/nonce-plz", b"", {"User-Agent": "a proxy"})
                nonce = fresh.headers["Replay-Nonce"]
                return Answer(path, 201, {**known.headers, "Replay-Nonce": nonce}, known.body)
            answer = super().upstream(ca, method, path, body, headers)
            if answer.status == 201:
                self._open[key] = answer
            return answer
        answer = super().upstream(ca, method, path, body, headers)
        if path.startswith("/finalize-order/") and answer.status == 200:
            ours = json.loads(answer.body)["finalize"]
            self._open = {
                key: one
                for key, one in self._open.items()
                if json.loads(one.body)["finalize"] != ours
            }
        if path.startswith("/my-account/") and answer.status == 200:
            account = json.loads(answer.body)
            account.pop("orders", None)
            answer.body = json.dumps(account).encode()
        return answer
