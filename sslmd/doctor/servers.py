"""What `sslmctl doctor` looks at on servers: ssh and rsync."""

from __future__ import annotations

import asyncio

from sslmd.config.hosts import hosts_of
from sslmd.config.model import Config
from sslmd.core.errors import SslmError
from sslmd.core.names import machine_of
from sslmd.doctor.symptoms import Checkup, Symptoms, well, wrong
from sslmd.servers.local import is_local
from sslmd.servers.ssh import shell_on

# Hosts that are visited at the same time, and seconds for all of a visit.
AT_ONCE = 64
VISIT = 90.0


def remote_hosts(config: Config) -> list[str]:
    """Return the hosts that are reached by ssh."""
    return [host for host in hosts_of(config) if not is_local(machine_of(host))]


async def look_at_hosts(case: Checkup) -> Symptoms:
    """Whether the daemon's user gets in everywhere, and finds what it needs."""
    prod = str(case.config.globals.prod_cert_dir)

    async def one(host: str) -> str:
        try:
            async with asyncio.timeout(VISIT), shell_on(host, prod) as shell:
                await shell.ask("survey")
                answer = await shell.ask("run", "20", "rsync", "--version")
                return "" if answer.status == "0" else f"{host} has no rsync; install it there"
        except SslmError as err:
            return str(err)
        except TimeoutError:
            return f"{host}: a visit takes longer than {VISIT:g} s; see why it hangs"

    hosts = await asyncio.to_thread(remote_hosts, case.config)
    if hosts and (stranger := case.stranger("ssh")):
        yield stranger
        return
    done, late = await case.watch.each("ssh", hosts, one, "host", AT_ONCE)
    for host, problem in done:
        if problem:
            yield wrong("ssh", problem if problem.startswith(host) else f"{host}: {problem}")
        else:
            yield well("ssh", f"{host} lets us in, and has rsync")
    for finding in late:
        yield finding
