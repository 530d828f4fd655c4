"""A real sslmd on a scratch site, and sslmctl against it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from sslmd.console.client import DaemonClient
from sslmd.console.program import CtlError
from sslmd.wire.messages import Method
from tests.stand.faketime import of_loading
from tests.stand.server import ROOT
from tests.stand.starter import Started, run_client, start_daemon

EXAMPLE = ROOT / "conf.d-example"

# Seconds. A bound for what would otherwise hang; nothing is measured by it.
PATIENCE = 60.0

# Seconds between two looks at the status, where the log says nothing meanwhile.
LOOK = 0.2


def without_notes(status: dict[str, Any], which: str = "curr") -> dict[str, Any]:
    """Return what is told of a set, but for the second in which it came, which only notes have."""
    return {key: value for key, value in status[which].items() if key != "issued_at"}


EC = "ktype = 'ec'\nec_algo = 'secp256r1'\n"

# The site's own CAs, and who signs each.
_OWN_CAS = {"my-root": ("self", "self"), "my-int": ("local", "my-root")}


def first_tables(settings: Mapping[str, str], groups: Iterable[str]) -> str:
    """Return what `ssl-mgr.conf` begins with: `[globals]`, and every service of these groups."""
    lines = ["[globals]", *(f"{key} = {value}" for key, value in settings.items())]
    for group in groups:
        lines += ["[[groups]]", "active = true", f"domain = '{group}'", "services = ['ALL']"]
    return "\n".join(lines) + "\n"


def reasons_of(cert: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every reason that a certificate's status gives, as its code and facts."""
    return codes_in({name: cert[name] for name in ("reason_code", "reason_facts")})


def codes_in(document: object) -> dict[str, dict[str, Any]]:
    """Return every code of a document of the socket, or of messages, with its facts."""
    found: dict[str, dict[str, Any]] = {}
    for one in document if isinstance(document, list) else [document]:
        if not isinstance(one, dict):
            continue
        for key, value in one.items():
            if key.endswith("code") and isinstance(value, str):
                found.setdefault(value, {}).update(one.get(f"{key[:-4]}facts") or {})
        for value in one.values():
            for code, facts in codes_in(value).items():
                found.setdefault(code, {}).update(facts)
    return found


def ask(line: socket.socket, method: str, **params: object) -> list[dict[str, Any]]:
    """Ask on a greeted connection; return all that is said, last the answer."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    said: list[dict[str, Any]] = []
    with line.makefile("rwb") as stream:
        stream.write(json.dumps(request).encode() + b"\n")
        stream.flush()
        while not said or said[-1].get("id") != 1:
            said.append(json.loads(stream.readline()))
    return said


class Site:
    """A top directory with a configuration, and the daemon that runs on it."""

    def __init__(self, top: Path, example: Path | None = EXAMPLE) -> None:
        self.top = top
        self.conf = top / "conf.d"
        self.socket = top / "sock"
        if example is not None:
            shutil.copytree(example, self.conf)
        self.process: subprocess.Popen[str] | Started | None = None
        self.lines: list[str] = []
        self._grew = threading.Condition()
        self._reader: threading.Thread | None = None

    # --- the daemon ---

    def start(
        self,
        *options: str,
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        ready: bool = True,
    ) -> Self:
        """Start the daemon; wait until it is ready unless told otherwise."""
        self.lines = []
        words = ["--conf-dir", str(self.conf), "--socket", str(self.socket), *options]
        around = {**os.environ, **(env or {})}
        others = set(env or ()) - set(of_loading(env or {}))
        if wrapper or any(name.startswith(("LD_", "PYTHON")) for name in others):
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "sslmd.daemon.main", *words],
                cwd=ROOT,
                env=around,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        else:
            self.process = start_daemon(words, around)
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,))
        self._reader.start()
        if ready:
            self.wait_line("is ready")
        return self

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._grew:
                self.lines.append(line.rstrip("\n"))
                self._grew.notify_all()
        with self._grew:
            self._grew.notify_all()

    def wait_line(self, text: str, count: int = 1) -> str:
        """Return the `count`th line of the log that has `text` in it, when it is there."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        self.wait_lines(lambda _: len(found()) >= count, repr(text))
        return found()[count - 1]

    def wait_line_of(self, texts: Sequence[str]) -> str:
        """Return the first line of the log that has one of `texts` in it, when it is there."""

        def found(lines: list[str]) -> list[str]:
            return [line for line in lines if any(text in line for text in texts)]

        self.wait_lines(found, f"any of {texts}")
        return found(self.lines)[0]

    def wait_lines(self, check: Callable[[list[str]], object], what: str) -> None:
        """Wait until the log is as it should be; fail with it after a minute, or its end."""

        def done() -> bool:
            ended = self._reader is not None and not self._reader.is_alive()
            return bool(check(self.lines)) or ended

        with self._grew:
            self._grew.wait_for(done, PATIENCE)
        assert check(self.lines), f"no {what} in:\n" + "\n".join(self.lines)

    def wait(self) -> int:
        """Return the exit status of a daemon that ends by itself."""
        assert self.process is not None
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError("it did not end:\n" + "\n".join(self.lines)) from None
        assert self._reader is not None
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the daemon with a signal; return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL the daemon and all that it started."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """Make sure that nothing is left running."""
        if self.process is not None:
            self.kill()

    # --- its configuration ---

    def put(self, name: str, text: str) -> None:
        """Write a file of the configuration."""
        path = self.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def put_own_cas(self, more: str = "") -> None:
        """Write `ca-info.conf` with a root and an intermediate of its own, `my-int`, and these.

        `more`: tables of other CAs.
        """
        kinds = (f"[{name}]\nca_type = '{kind}'\n" for name, (kind, _) in _OWN_CAS.items())
        self.put("ca-info.conf", "".join(kinds) + more)
        for name, (_, signer) in _OWN_CAS.items():
            self.put_service(f"ca/{name}", signer)

    def put_service(
        self,
        cert: str,
        signer: str,
        names: Sequence[str] = (),
        *,
        more: str = "",
        key: str = EC,
        email: str = "",
    ) -> None:
        """Write a service file: `group/service`, who signs it, names of the certificate."""
        group, _, service = cert.partition("/")
        mail = f"email = '{email}'\n" if email else ""
        self.put(
            cert,
            f"group = '{group}'\nservice = '{service}'\nsigning_ca = '{signer}'\n{more}\n"
            f"[KeyOpts]\n{key}[X509]\nCN = '{names[0] if names else service}'\n{mail}"
            f"sans = {list(names)}\n",
        )

    # --- its client ---

    def ctl(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run sslmctl; check its exit status unless told None."""
        done = run_client(["--socket", str(self.socket), *words], PATIENCE)
        if status is not None:
            assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
        return done

    def ask(self, method: str, **params: object) -> list[dict[str, Any]]:
        """Ask as `sslmctl` asks; return all that is said, last the answer (`codes_in`)."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(str(self.socket))
            return ask(line, method, **params)

    def status(self, *certs: str) -> dict[str, dict[str, Any]]:
        """Return `status --json` by certificate."""
        document = self._status(*certs)
        return {f"{one['group']}/{one['service']}": one for one in document["certs"]}

    def summary(self) -> str:
        """Return what the daemon says of itself, as in the last line of `status`."""
        return str(self._status()["daemon"]["text"])

    def _status(self, *certs: str) -> dict[str, Any]:
        """Ask as sslmctl asks, in this process: tests ask it thousands of times."""
        try:
            with DaemonClient(str(self.socket)) as daemon:
                document: Any = daemon.call(Method.STATUS, {"certs": list(certs) or None})
        except CtlError as err:
            raise AssertionError(err.text) from None
        assert document["version"] == 1
        return dict(document)

    def wait_settled(self, *but: str) -> dict[str, dict[str, Any]]:
        """Return the status when every certificate is settled, `but` those named."""

        def unsettled(status: dict[str, dict[str, Any]]) -> dict[str, str]:
            return {
                name: f"{one['phase']}: {one['reason']}"
                for name, one in status.items()
                if name not in but and (one["phase"] != "settled" or one["curr"] is None)
            }

        return self._wait_for(unsettled)

    def wait_on_deck(self, cert: str) -> dict[str, dict[str, Any]]:
        """Return the status when a certificate has a `next` on deck."""
        return self._wait_for(lambda status: None if status[cert]["next"] else "no next")

    def wait_reason(self, cert: str, code: str) -> dict[str, Any]:
        """Return the status of a certificate when this code is among its reasons."""
        return self._wait_for(
            lambda status: None if code in reasons_of(status[cert]) else status[cert]["reason"]
        )[cert]

    def wait_phase(self, cert: str, phase: str) -> dict[str, Any]:
        """Return the status of a certificate when it is in this phase."""
        return self._wait_for(
            lambda status: None if status[cert]["phase"] == phase else status[cert]["reason"]
        )[cert]

    def _wait_for(
        self, missing: Callable[[dict[str, dict[str, Any]]], object]
    ) -> dict[str, dict[str, Any]]:
        """Look at the status whenever the log has grown, until nothing is missing."""
        end = time.monotonic() + PATIENCE
        while True:
            seen = len(self.lines)
            status = self.status()
            lacking = missing(status)
            if not lacking:
                return status
            tail = "\n".join(self.lines[-20:])
            assert time.monotonic() < end, f"it never came: {lacking}\n{tail}"
            self._wait_grown(seen)

    def _wait_grown(self, seen: int) -> None:
        with self._grew:
            self._grew.wait_for(lambda: len(self.lines) > seen, LOOK)

    # --- the tree ---

    def live(self, cert: str) -> Path:
        """Return the folder of a certificate's `curr`."""
        return self.top / "certs" / cert / "curr"

    def serials(self) -> dict[str, str]:
        """Return the serial of every `curr`."""
        return {name: one["curr"]["serial"] for name, one in self.status().items()}


def verify(site: Site, cert: str, *, base: str = "certs", which: str = "curr") -> None:
    """Check a set with openssl: the chain strictly, and that key and certificate are a pair."""
    folder = site.top / base / cert / which
    cert_pem = folder / "cert.pem"
    end = b"-----END CERTIFICATE-----\n"
    blocks = [block + end for block in (folder / "chain.pem").read_bytes().split(end)[:-1]]
    scratch = site.top / "verify"
    scratch.mkdir(exist_ok=True)
    root = scratch / "root.pem"
    between = scratch / "between.pem"
    root.write_bytes(blocks[-1] if blocks else cert_pem.read_bytes())
    between.write_bytes(b"".join(blocks[:-1]))
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(root)]
    if blocks[:-1]:
        command += ["-untrusted", str(between)]
    done = subprocess.run([*command, str(cert_pem)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if (folder / "privkey.pem").exists():
        keys = [
            subprocess.run(["openssl", *words], capture_output=True, check=True).stdout
            for words in (
                ["pkey", "-in", str(folder / "privkey.pem"), "-pubout"],
                ["x509", "-in", str(cert_pem), "-noout", "-pubkey"],
            )
        ]
        assert keys[0] == keys[1]
