"""All looks of `sslmctl doctor`: taken at the same time, told in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from sslmd.config.files import locate_conf_dir
from sslmd.config.load import load_partly
from sslmd.config.model import Config
from sslmd.console.text import complain
from sslmd.core.errors import Mistake, SslmError
from sslmd.core.words.doctor import Diagnosis
from sslmd.doctor import daemon, dns, here, http, include, orders, resolvers, servers, sets
from sslmd.doctor.daemon import Running
from sslmd.doctor.symptoms import Checkup, Symptom, TimeBox, all_of, odd, unseen

# Seconds between two lines about how far the looks are.
_TELLS = 5.0


async def take(
    running: Running, conf_dir: str, seconds: float, tell: Callable[[Symptom], None] | None
) -> list[Symptom]:
    """Take all looks within `seconds`; `tell` each finding when those before it are known.

    `conf_dir`: the configuration that was named, "" for that of the daemon.
    """
    watch = TimeBox(seconds)
    found: list[Symptom] = []
    telling = asyncio.ensure_future(_progress(watch)) if tell else None
    tasks = [asyncio.ensure_future(look) for look in _looks(running, conf_dir, watch)]
    try:
        for task in tasks:
            for one in await task:
                if tell:
                    tell(one)
                found.append(one)
    finally:
        # Looks that are under way have things to put in order: files on web servers, for one.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if telling is not None:
            telling.cancel()
    return found


async def _progress(watch: TimeBox) -> None:
    """Say now and then how far it is: with many names it takes its time."""
    while True:
        await asyncio.sleep(_TELLS)
        if progress := watch.progress:
            complain(f"still looking: {progress}", "dim")


def _looks(
    running: Running, conf_dir: str, watch: TimeBox
) -> Iterator[Coroutine[None, None, list[Symptom]]]:
    """Yield the looks, in the order of telling."""
    if not conf_dir and running.conf_dir:
        folder = Path(running.conf_dir)
    else:
        folder = locate_conf_dir(conf_dir, os.environ)
    config: Config | None = None
    mistakes: tuple[Mistake, ...] = ()
    try:
        config, mistakes = load_partly(folder, owners={0, os.geteuid(), running.uid})
    except SslmError as err:
        mistakes = (Mistake(str(folder), 0, "", str(err), "correct it"),)
    look = here.look_at_configuration(running, folder, config, mistakes)
    yield all_of("configuration", look, watch)
    if not conf_dir and not running.conf_dir:
        yield _found(unseen("configuration", Diagnosis.CONF_UNKNOWN, folder=folder))
    elif not running.reads(folder):
        facts = {"its": running.conf_dir, "folder": folder}
        yield _found(odd("configuration", Diagnosis.CONF_OTHER, **facts))
    unused = here.named_unused(config) if running.reads(folder) else ()
    yield all_of("daemon", daemon.look_at_daemon(running, unused=unused), watch)
    if config is None:
        return
    case = Checkup(config, watch, running.uid)
    for where, look in (
        ("rights", here.look_at_rights(case, running.socket)),
        ("sets", sets.look_at_sets(case, running)),
        ("production", servers.look_at_production(case, running)),
        ("unit", here.look_at_unit(case)),
        ("user", here.look_at_user(case, running)),
        ("clock", here.look_at_clock(case)),
        ("commands", here.look_at_commands(case)),
        ("certbot", here.look_at_certbot(case)),
        ("orders", orders.look_at_orders(case)),
        ("names", dns.look_at_names(case)),
        ("DNS", dns.look_at_zones(case)),
        ("DNS", resolvers.look_at_extra_servers(case)),
        ("include", include.look_at_includes(case)),
        ("DNSSEC", resolvers.look_at_dnssec(case)),
        ("http-01", http.look_at_http(case, running)),
        ("ssh", servers.look_at_hosts(case, running)),
        ("ports", servers.look_at_ports(case)),
    ):
        yield all_of(where, look, watch)


async def _found(finding: Symptom) -> list[Symptom]:
    return [finding]
