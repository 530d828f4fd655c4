"""What orders take lego and Caddy, beside sslmd at the same Pebble, for `make bench`.

The CA believes everything, so that nobody has to show a challenge: what is compared is the work of
the clients. Debian has both of them as packages (lego, caddy).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.family import cpu_of, family, memory_of, wait_live
from tests.stand.acme_site import ZONE, World
from tests.stand.pebble import Pebble
from tests.stand.server import free_port

# Orders of each: Caddy sends ten in ten seconds and no more.
EACH = 10

# Seconds; what is not done then is not waited for.
LONGEST = 120.0

BELIEVES = {"PEBBLE_VA_ALWAYS_VALID": "1"}

CADDYFILE = """\
{{
    admin off
    storage file_system {storage}
    acme_ca {ca.directory}
    acme_ca_root {ca.root_file}
    email admin@a.test
    skip_install_trust
    auto_https disable_redirects
    http_port {http_port}
    https_port {https_port}
}}
{names} {{
    respond ok
}}
"""


def beside_others(top: Path) -> list[str]:
    """Return a line for the page for each client."""
    with ExitStack() as stack:
        top.mkdir(parents=True)
        world = World(top, stack)
        primary = world.bind()
        ca = world.pebble(primary, retry_after=0, settings=BELIEVES)
        world.site.use(ca)
        world.site.publish(primary)
        lines = [_ours(world), _lego(top / "lego", ca), _caddy(top / "caddy", ca)]
    return [
        f"{EACH} orders at the same Pebble, which believes everything, by {one}" for one in lines
    ]


def _ours(world: World) -> str:
    world.site.write({f"{ZONE}/s{n}": [f"n{n}.{ZONE}"] for n in range(EACH)})
    began = time.monotonic()
    world.site.start()
    assert world.site.process is not None
    live = wait_live(world.site, EACH, LONGEST)
    seconds, pids = time.monotonic() - began, family(world.site.process.pid)
    cpu, memory = sum(map(cpu_of, pids)), sum(map(memory_of, pids))
    world.site.stop()
    return (
        f"sslmd, start and challenges in DNS included: {_done(live)}{seconds:.1f} s, "
        f"{cpu / EACH:.3f} CPU-s each and {memory:.0f} MB"
    )


def _lego(top: Path, ca: Pebble) -> str:
    """A program run for each order."""
    program = shutil.which("lego")
    if program is None:
        return "lego: not measured, because it is not installed (apt-get install lego)"
    top.mkdir()
    hook = top / "hook"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    around = {**os.environ, "LEGO_CA_CERTIFICATES": str(ca.root_file), "EXEC_PATH": str(hook)}
    words = [program, "--path", str(top / "lego"), "--server", ca.directory, "--accept-tos"]
    words += ["--email", "admin@a.test", "--dns", "exec", "--dns.disable-cp"]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for number in range(EACH):
        domain = ["--domains", f"n{number}.a.test", "run"]
        subprocess.run([*words, *domain], env=around, capture_output=True, check=True)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"lego, one after the other: {seconds:.1f} s, {cpu / EACH:.3f} CPU-s each"


def _caddy(top: Path, ca: Pebble) -> str:
    """One process for all, as a web server; it answers challenges itself."""
    program = shutil.which("caddy")
    if program is None:
        return "Caddy: not measured, because it is not installed (apt-get install caddy)"
    top.mkdir()
    file = top / "Caddyfile"
    names = ", ".join(f"c{number}.a.test" for number in range(EACH))
    ports = {"http_port": free_port(), "https_port": free_port()}
    file.write_text(CADDYFILE.format(storage=top / "storage", ca=ca, names=names, **ports))
    around = {"PATH": os.environ["PATH"], "HOME": str(top)}
    command = [program, "run", "--config", str(file), "--adapter", "caddyfile"]
    began = time.monotonic()
    with (top / "log").open("wb") as log:
        process = subprocess.Popen(command, env=around, stdout=log, stderr=log)
    try:
        done = 0
        while done < EACH and time.monotonic() - began < LONGEST and process.poll() is None:
            time.sleep(0.05)
            done = sum(1 for _ in (top / "storage/certificates").rglob("*.crt"))
        seconds, cpu, memory = time.monotonic() - began, cpu_of(process.pid), memory_of(process.pid)
    finally:
        process.terminate()
        process.wait()
    return (
        f"Caddy, start included: {_done(done)}{seconds:.1f} s, "
        f"{cpu / EACH:.3f} CPU-s each and {memory:.0f} MB"
    )


def _done(number: int) -> str:
    return "" if number >= EACH else f"only {number} were done after "
