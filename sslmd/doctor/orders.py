"""What `sslmctl doctor` looks at for orders: the CAs, and what would keep them from issuing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from sslmd.acme.accounts import account_used
from sslmd.acme.certbot import server_of
from sslmd.acme.directory import Directory, fetch
from sslmd.config.model import CaInfo
from sslmd.console.text import count
from sslmd.core.errors import SslmError
from sslmd.core.names import CertId
from sslmd.core.plain import some_of
from sslmd.core.reason import Reason
from sslmd.core.words.doctor import Diagnosis
from sslmd.doctor.symptoms import Checkup, Symptoms, acme_ca, alike, unseen, well, wrong
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
            return await fetch(used[name].server, used[name].server_root, case.net)
        except SslmError as err:
            return str(err)

    looked, late = await case.watch.each("CAs", used, directory, "CA")
    for finding in late:
        yield finding
    for name, found in looked:
        ca = used[name]
        if isinstance(found, str):
            yield wrong("CAs", Diagnosis.ABOUT, what=name, why=found)
            continue
        directories[name] = found
        if ca.preferred_profile and ca.preferred_profile not in found.profiles:
            known = ", ".join(found.profiles) or "none"
            yield wrong("CAs", Diagnosis.NO_PROFILE, ca=name, asked=ca.preferred_profile, has=known)
        elif found.external_account_required and not ca.eab_kid:
            yield wrong("CAs", Diagnosis.NO_EAB, ca=name)
        else:
            yield well("CAs", Diagnosis.CA_ANSWERS, ca=name, server=ca.server)

    async def would_fail(cert: CertId) -> str:
        return await _would_fail(case, cert, asking[cert], directories, warned.append)

    warned: list[Reason] = []
    done, late = await case.watch.each("orders", asking, would_fail, "certificate", _AT_ONCE)
    for trouble, certs in alike(done).items():
        yield wrong("orders", Diagnosis.NO_ORDER, certs=some_of(certs, _SHOWN), why=trouble)
    for why in dict.fromkeys(warned):
        yield unseen("orders", why)
    for finding in late:
        yield finding
    if unknown := sorted(used.keys() - directories.keys()):
        yield unseen("orders", Diagnosis.CAA_UNSEEN, cas=", ".join(unknown))
    elif good := sum(not trouble for _, trouble in done):
        yield well("orders", Diagnosis.ORDERS_WELL, certs=count(good, "certificate"))


async def _would_fail(
    case: Checkup,
    cert: CertId,
    ca: CaInfo,
    known: Mapping[str, Directory],
    warn: Callable[[Reason], None],
) -> str:
    """Return what would end an order before it is made, "" for nothing."""
    tree = Tree(str(case.config.globals.certs_dir))
    own = tree.certbot_dir(cert)
    account = await asyncio.to_thread(account_used, tree, server_of(ca, ""), own)
    directory = known.get(ca.name) or Directory()
    checks = Preflight(
        cert, case.config, case.resolver, directory, ca.validation, account, _no_account, warn
    )
    try:
        await checks.run(case.config.services[cert].spec.all_names())
    except SslmError as err:
        return str(err)
    return ""


async def _no_account() -> str:
    """An order would make an account here; a look makes none."""
    return ""
