"""`renew --test` and `--dry-run`: an order at the CA's test server, in a tree of its own (I7).

Nothing of it comes near `next` or production: it is written to `.test/<group>/<service>/` below
`certs_dir`, with a key of its own, where no link of a certificate can lead. A dry run takes its
whole folder with it when it ends.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress

from sslmd.acme import certbot, directory
from sslmd.acme.attempt import Attempt
from sslmd.acme.certbot import test_server_of
from sslmd.acme.wishes import unmet_wishes
from sslmd.config.model import LETS_ENCRYPT, LETS_ENCRYPT_STAGING, CaInfo
from sslmd.core.errors import Permanent
from sslmd.core.failed import Failed
from sslmd.core.jobs import Trial, lane
from sslmd.core.names import SetName
from sslmd.core.reason import Ended, Reason
from sslmd.core.spec import AcmeCa
from sslmd.core.state import SetNote, TrialKind
from sslmd.pki.csr import make_csr
from sslmd.pki.keys import generate_key
from sslmd.store import files
from sslmd.store.layout import PRIVKEY, SECRET_FILES, order_below
from sslmd.workers.acme import obtain
from sslmd.workers.certify import in_order, judged, whole_set
from sslmd.workers.tools import Ordering, Site, wanted_of

_DRY = "dry-run."

# Trials of other certificates make and remove folders side by side with this one's.
_folders = threading.Lock()


async def trial(job: Trial, ordering: Ordering) -> Reason:
    """Do the job; return how it went. Raises what `acme.obtain` does."""
    site, threads = ordering.site, ordering.threads
    service = site.service(job.cert)
    if not isinstance(service.spec.signer, AcmeCa):
        raise Permanent(Reason(Failed.TRIAL_NO_ACME, cert=job.cert))
    ca = site.config.cas[service.spec.signer.name]
    if ca.server != LETS_ENCRYPT and ca.test_server == LETS_ENCRYPT_STAGING:
        # Names inside a private CA's realm are nobody else's business.
        raise Permanent(Reason(Failed.TRIAL_NO_SERVER, ca=ca.name))
    folder = site.tree.trial_dir(job.cert)
    await threads.in_thread(_sweep, folder)
    if job.ask.kind is TrialKind.TEST:
        return await _try(job, ca, folder, ordering)
    folder = f"{folder}/{_DRY}{secrets.token_hex(8)}"
    await threads.in_thread(_make, folder)
    try:
        return await _try(job, ca, folder, ordering)
    finally:
        await threads.in_thread(_remove, folder, site)


async def _try(job: Trial, ca: CaInfo, folder: str, ordering: Ordering) -> Reason:
    site, threads = ordering.site, ordering.threads
    service = site.service(job.cert)
    served = await directory.fetch(ca.test_server, ca.test_server_root, ordering.net)
    server = test_server_of(
        ca, service.spec.subject.email, binds_accounts=served.external_account_required
    )
    name = SetName.at(site.now())
    key = await threads.in_thread(generate_key, service.spec.key)
    csr = make_csr(key, service.spec)
    place = order_below(f"{folder}/cb", name)
    obtained = await obtain(Attempt(service, server, place, csr, job.ask.kind, lane(job)), ordering)
    issued = await threads.in_thread(in_order, key, obtained.issued, site.now())
    whole = whole_set(key, csr, issued)
    note = SetNote(0.0, site.now(), ca.name)
    wanted = wanted_of(service, site.config)
    facts = await threads.in_thread(judged, wanted, name, key, whole, note, site.now())
    assert facts.cert is not None
    is_kept = job.ask.kind is TrialKind.TEST
    if is_kept:
        await threads.in_thread(certbot.clear, place)
        await threads.in_thread(_keep, folder, {PRIVKEY: key, **whole})
    return Reason(
        Ended.TRIAL_WELL,
        server=ca.test_server,
        serial=facts.cert.serial,
        until=facts.cert.not_after,
        unmet=unmet_wishes(server, obtained.directory, issued) or None,
        folder=folder if is_kept else None,
    )


def _keep(folder: str, contents: dict[str, bytes]) -> None:
    _make(folder)
    for file, data in contents.items():
        mode = files.KEY_MODE if file in SECRET_FILES else files.FILE_MODE
        files.write_file(f"{folder}/{file}", data, mode)


def _sweep(folder: str) -> None:
    """Remove what a dry run left behind that was killed."""
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            if name.startswith(_DRY):
                files.remove_tree(f"{folder}/{name}")


def _make(folder: str) -> None:
    with _folders:
        files.make_dirs(folder, 0o700)


def _remove(folder: str, site: Site) -> None:
    """Remove the folder, and those above it that are empty now."""
    with _folders, suppress(OSError):  # one that is not empty stays
        files.remove_tree(folder)
        above = os.path.dirname(folder)
        while above != site.tree.root:
            os.rmdir(above)
            above = os.path.dirname(above)
