"""A browser without a window: Chromium, spoken to over pipes by its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

# Seconds. Ten thousand rows on a busy machine take some.
PATIENCE = 120.0

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions"),
    "--remote-debugging-pipe",
)


def missing() -> str:
    """Why there is no browser; "" if there is one."""
    return "" if _program() else "chromium is not installed (Debian package chromium)"


def _program() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page in a browser of its own, and what it complained about."""

    def __init__(self, folder: Path) -> None:
        program = _program()
        assert program
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # Chromium reads 3 and writes 4.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = ["bash", "-c", shell, "bash", program, *_OPTIONS, f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder), "TZ": "UTC"},
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._read = b""
        self._last = 0
        self._session = ""
        self._loaded = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Self:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **params: Any) -> Any:
        """Ask for one thing; return the result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        sent = json.dumps(message).encode() + b"\0"
        while sent:
            sent = sent[os.write(self._to, sent) :]
        while True:
            answer = self._message()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def show(self, url: str) -> None:
        """Load a page, and wait until it is loaded."""
        self._loaded = 0
        self.ask("Page.navigate", url=url)
        while not self._loaded:
            self._message()

    def size(self, width: int, height: int = 900) -> None:
        """Be a screen of so many pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def media(self, scheme: str, medium: str = "") -> None:
        """Prefer `light` or `dark`; be `print`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", media=medium, features=[feature])

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        done = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def picture(self) -> bytes:
        """Return what is to be seen, as PNG, a third as large."""
        size = self.run("[innerWidth, innerHeight, scrollX, scrollY]")
        clip = dict(zip(("width", "height", "x", "y"), size, strict=True), scale=1 / 3)
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip)
        return base64.b64decode(shot["data"])

    def _message(self) -> Any:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser is silent"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser is gone"
            self._read += data
        line, _, self._read = self._read.partition(b"\0")
        message = json.loads(line)
        self._heard(message.get("method", ""), message.get("params", {}))
        return message

    def _heard(self, event: str, params: Any) -> None:
        match event:
            case "Page.loadEventFired":
                self._loaded += 1
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded":
                self.complaints.append(json.dumps(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])


def colours(png: bytes) -> int:
    """Return how many different pixels a picture has; a few at most where nothing is drawn."""
    width = int.from_bytes(png[16:20])
    depth, kind = png[24], png[25]
    assert (depth, kind) in ((8, 2), (8, 6)), "a picture of 8 bits a colour"
    size = 3 if kind == 2 else 4
    data, at = b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    rows = _unfiltered(zlib.decompress(data), width * size, size)
    return len({bytes(row[at : at + size]) for row in rows for at in range(0, len(row), size)})


def _unfiltered(data: bytes, width: int, size: int) -> Sequence[bytearray]:
    """Undo the filters of a PNG (RFC 2083 §6)."""
    rows: list[bytearray] = []
    above = bytearray(width)
    for start in range(0, len(data), width + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + width])
        for at in range(width if kind else 0):
            left = row[at - size] if at >= size else 0
            corner = above[at - size] if at >= size else 0
            row[at] = (row[at] + _guess(kind, left, above[at], corner)) & 0xFF
        rows.append(row)
        above = row
    return rows


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    match kind:
        case 1:
            return left
        case 2:
            return up
        case 3:
            return (left + up) // 2
        case _:
            near = left + up - corner
            return min((left, up, corner), key=lambda one: abs(near - one))
