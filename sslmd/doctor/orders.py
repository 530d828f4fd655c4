"""What `sslmctl doctor` looks at for orders: the CAs, and what would keep them from issuing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sslmd.acme.accounts import account_uri
from sslmd.acme.directory import Directory, fetch
from sslmd.config.model import CaInfo
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId
from sslmd.core.plain import some_of
from sslmd.core.words.sentence import say
from sslmd.doctor.symptoms import Checkup, Symptoms, acme_ca, unseen, well, wrong
from sslmd.store.layout import Tree
from sslmd.workers.preflight import Preflight

# Certificates whose zones are asked at the same time.
_AT_ONCE = 8

_SHOWN = 3  # certificates that one message names


async def look_at_orders(case: Checkup) -> Symptoms:
    """Whether ACME CAs can be reached and have what is asked of them, and orders would go on.

    The same is looked at before each order; here it is found before one is due.
    """
    config = case.config
    asking: dict[CertId, CaInfo] = {
        cert: ca
        for cert, service in config.services.items()
        if service.managed and (ca := acme_ca(config, service)) is not None
    }
    used = {ca.name: ca for ca in asking.values()}
    directories: dict[str, Directory] = {}

    async def directory(name: str) -> Directory | str:
        try:
            return await fetch(used[name].server, used[name].server_root, asyncio.to_thread)
        except SslmError as err:
            return str(err)

    looked, late = await case.watch.each("CAs", used, directory, "CA")
    for finding in late:
        yield finding
    for name, found in looked:
        if isinstance(found, str):
            yield wrong("CAs", f"{name}: {found}")
            continue
        directories[name] = found
        problem = _lacking(used[name], found)
        yield (
            wrong("CAs", f"{name}: {problem}")
            if problem
            else well("CAs", f"{name}: {used[name].server} answers")
        )

    async def one(cert: CertId) -> str:
        known = directories.get(asking[cert].name)
        return await _would_fail(case, cert, asking[cert], known, warned.append)

    warned: list[str] = []
    problems: dict[str, list[CertId]] = {}
    done, late = await case.watch.each("orders", asking, one, "certificate", _AT_ONCE)
    for cert, trouble in done:
        if trouble:
            problems.setdefault(trouble, []).append(cert)
    for trouble, certs in problems.items():
        some = some_of(certs, _SHOWN)
        yield wrong("orders", f"{some}: an order would not be made: {trouble}")
    for text in dict.fromkeys(warned):
        yield unseen("orders", text)
    for finding in late:
        yield finding
    unknown = sorted(used.keys() - directories.keys())
    if unknown:
        yield unseen("orders", f"whether CAA records allow {', '.join(unknown)} to issue")
    elif good := sum(not trouble for _, trouble in done):
        yield well(
            "orders", f"{count(good, 'certificate')}: names, zones and CAA are as an order needs"
        )


def _lacking(ca: CaInfo, directory: Directory) -> str:
    profile = ca.preferred_profile
    if profile and profile not in directory.profiles:
        known = ", ".join(directory.profiles) or "none"
        return f"it has no profile {profile} ({known}); correct ca_preferred_acme_profile"
    if directory.external_account_required and not ca.eab_kid:
        return "it wants an account that you have there; write ca_eab_kid and ca_eab_hmac_key_file"
    return ""


async def _would_fail(
    case: Checkup,
    cert: CertId,
    ca: CaInfo,
    known: Directory | None,
    warn: Callable[[str], None],
) -> str:
    """Return what would end an order before it is made, "" for nothing."""
    home = Tree(str(case.config.globals.certs_dir)).certbot_dir(cert)
    account = await asyncio.to_thread(account_uri, home, ca.server)
    checks = Preflight(
        cert,
        case.config,
        case.resolver,
        known or Directory(),
        ca.validation,
        account,
        _no_account,
        lambda why: warn(say(why)),
    )
    try:
        await checks.run(case.config.services[cert].spec.all_names())
    except SslmError as err:
        return str(err)
    return ""


async def _no_account() -> str:
    """An order would make an account here; a look makes none."""
    return ""
