"""A CA that keeps open orders to itself, as Let's Encrypt does: Pebble's, through a proxy.

It lists no orders of an account. `reuses`: who asks for the names of an order that is not finalized
yet gets that order again, whatever certificate it is for.
"""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

from tests.stand.pebble import Pebble
from tests.stand.proxy import Answer, Change, Proxy, payload_of


def _asked_for(body: bytes) -> str:
    """Return who asks for which names."""
    text = json.loads(body)["protected"]
    head: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return json.dumps([head["kid"], payload_of(body)["identifiers"]])


class ReusingCa(Proxy):
    """`reused`: how often it gave an order again."""

    def __init__(self, ca: Pebble, change: Change = lambda one: one, *, reuses: bool) -> None:
        super().__init__(ca, self._changed, self._again)
        self._ca, self._reuses, self._then = ca, reuses, change
        self._open: dict[str, Answer] = {}
        self.reused = 0

    def _again(self, path: str, body: bytes) -> Answer | None:
        known = self._open.get(_asked_for(body)) if path == "/order-plz" else None
        if known is None:
            return None
        self.reused += 1
        return Answer(path, 201, {**known.headers, "Replay-Nonce": self._nonce()}, known.body)

    def _nonce(self) -> str:
        line = http.client.HTTPSConnection("localhost", self._ca.port, context=self._context)
        line.request("HEAD", "/nonce-plz", headers={"User-Agent": "a proxy"})
        nonce = line.getresponse().headers["Replay-Nonce"]
        line.close()
        return str(nonce)

    def _changed(self, answer: Answer) -> Answer:
        if self._reuses and answer.path == "/order-plz" and answer.status == 201:
            self._open[_asked_for(answer.asked)] = answer
        if answer.path.startswith("/finalize-order/") and answer.status == 200:
            done = json.loads(answer.body)["finalize"]
            self._open = {
                key: one
                for key, one in self._open.items()
                if json.loads(one.body)["finalize"] != done
            }
        if answer.path.startswith("/my-account/") and answer.status == 200:
            account = json.loads(answer.body)
            account.pop("orders", None)
            answer.body = json.dumps(account).encode()
        return self._then(answer)
