"""What `sslmctl import --check` looks at. Reads only: nothing here changes the tree.

ssl-mgr 5.2 to 7.8 is meant; docs/moving-from-ssl-mgr.md has what differs in words.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509

from sslmd.config.model import Config, ServiceConfig
from sslmd.core.errors import SslmError
from sslmd.core.facts import SetFacts
from sslmd.core.jobs import Certify, MakeKey, Order, Roll
from sslmd.core.lifecycle import phase_of
from sslmd.core.names import CertId, GroupName, SetName, machine_of
from sslmd.core.renew_track import renewing
from sslmd.core.spec import OwnCa
from sslmd.core.state import CertState
from sslmd.core.view import Ca, View, clock
from sslmd.ctl.text import count
from sslmd.dns.include import challenge_file
from sslmd.dns.include import read as read_challenges
from sslmd.dns.tlsa_include import read as read_tlsa
from sslmd.dns.tlsa_include import tlsa_file
from sslmd.pki.chain import find, load_cert
from sslmd.servers.local import is_local
from sslmd.servers.production import serves, survey
from sslmd.store import files, sets
from sslmd.store.layout import BUNDLE, CURR, PRIVKEY, Tree
from sslmd.store.state import BadStateError, LaterVersionError, parse
from sslmd.workers.deliver import places
from sslmd.workers.tools import wanted_of

_SHOWN = 5

# Where programs are started by the clock.
_TIMERS = (
    "/etc/crontab",
    "/etc/cron.*/*",
    "/var/spool/cron/*",
    "/var/spool/cron/*/*",
    "/etc/systemd/system/*.service",
    "/etc/systemd/system/*.timer",
)
_STARTS_IT = re.compile(r"^(?!\s*[#;]).*\b(sslm-(?:mgr|dhparm))\b", re.MULTILINE)


@dataclass(frozen=True)
class Adopted:
    """A certificate as it would be taken over. `then`: what comes next; `hold`: why nothing may.

    `anew`: it is made anew at once.
    """

    cert: CertId
    state: CertState
    curr: str = "-"
    next: str = "-"
    ends: str = "-"
    then: str = ""
    hold: str = ""
    anew: bool = False
    remarks: list[str] = field(default_factory=list)


def adopted(config: Config) -> list[Adopted]:
    """Return every certificate of the configuration, and what the daemon would do with it."""
    now = datetime.now(UTC)
    tree = Tree(str(config.globals.certs_dir))
    read = {cert: _read(tree, cert) for cert in config.services}
    found = []
    for cert, service in config.services.items():
        state, hold, remarks = read[cert]
        ca = _ca(config, service, read)
        view = View(wanted_of(service, config), state, ca, places(config, cert), hold)
        then, anew = ("", False) if hold else _next_step(view, now)
        if service.dane and state.next is not None:
            remarks.append("the roll waits for its TLSA records: two TTLs from the first look on")
        ends = state.curr.cert.not_after if state.curr and state.curr.cert else None
        found.append(
            Adopted(
                cert,
                state,
                str(state.curr.name) if state.curr else "-",
                str(state.next.name) if state.next else "-",
                f"{ends:%Y-%m-%d}" if ends else "-",
                then,
                hold,
                anew,
                remarks,
            )
        )
    return found


def _next_step(view: View, now: datetime) -> tuple[str, bool]:
    """Return what comes next of a certificate, and whether it is made anew at once."""
    if not view.wanted.managed:
        return "is used to sign, and never renewed: no active group lists it", False
    # Delivery, which the daemon sees to as well, does not hold up the rest.
    decision = renewing(view, now)
    job = decision.job
    if isinstance(job, MakeKey | Certify | Order):
        return f"is RENEWED AT ONCE: {job.reason}", True
    if isinstance(job, Roll):
        return f"is ROLLED AT ONCE: {job.reason}", False
    if decision.waits_for_ca:
        return f"is RENEWED AT ONCE, but {decision.text}", True
    if decision.roll_at is not None:
        when = f", {decision.rolls_when}" if decision.rolls_when else ""
        return f"rolls at {clock(decision.roll_at)}{when}", False
    if view.state.curr is not None and decision.renew_at is not None:
        return f"stays; renews {decision.renew_at:%Y-%m-%d}, give or take the spread", False
    return decision.text, False


def _read(tree: Tree, cert: CertId) -> tuple[CertState, str, list[str]]:
    """Return a certificate's state, why it would be left alone, and what is odd about it."""
    remarks: list[str] = []
    try:
        for folder in (tree.group_dir(cert), tree.cert_dir(cert), tree.db_dir(cert)):
            files.check_dir(folder)
        remarks += _notes(tree.state_file(cert))
        links = sets.read_links(tree, cert)
        curr, after = _set(tree, cert, links.curr), _set(tree, cert, links.next)
    except LaterVersionError as err:
        return CertState(), f"{tree.state_file(cert)} is left alone: {err}", []
    except SslmError as err:
        return CertState(), str(err), []
    except OSError as err:
        return CertState(), str(files.trouble(err, "read", tree.cert_dir(cert))), []
    remarks += links.remarks
    if links.next is not None and links.next == links.curr:
        remarks.append("next is the same as curr: it is taken off the deck")
        after = None
    elif after is not None and not after.complete:
        remarks.append("next is not finished: finished or replaced when a renewal is due")
    phase = phase_of(curr, after, advertised=None, deployed=links.curr, settled=links.curr)
    state = CertState(
        phase=phase,
        curr=curr,
        next=after,
        prev=links.prev if links.prev != links.curr else None,
        deployed=links.curr,
        settled=links.curr,
        adopted=curr is not None,
    )
    return state, "", remarks


def _notes(path: str) -> list[str]:
    """Return what is to be said of notes that are there. Raises `LaterVersionError`."""
    try:
        parse(files.read_file(path))
    except FileNotFoundError:
        return []
    except BadStateError as err:
        return [f"its state.toml is set aside: {err}"]
    return ["it has a state.toml: sslmd was here before, and what is noted there counts too"]


def _set(tree: Tree, cert: CertId, name: SetName | None) -> SetFacts | None:
    return None if name is None else sets.read_set(tree, cert, name)


def _ca(
    config: Config,
    service: ServiceConfig,
    read: dict[CertId, tuple[CertState, str, list[str]]],
) -> Ca | None:
    signer = service.spec.signer
    if not isinstance(signer, OwnCa):
        return None
    above = config.services.get(signer.cert)
    return Ca(
        signer.cert,
        wanted_of(above, config) if above else None,
        read[signer.cert][0] if above else None,
    )


# --- keys, folders --------------------------------------------------------------------


def rights(config: Config) -> Iterator[str]:
    """Tell of keys that others can read."""
    wide = list(sets.wide_keys(str(config.globals.certs_dir)))
    for path in wide[:_SHOWN]:
        yield f"{path} can be read by others: it becomes 0600"
    if len(wide) > _SHOWN:
        yield f"and so do {len(wide) - _SHOWN} more"
    if wide:
        yield "whoever has read one has it: think of new keys (sslmctl force-renew)"


# --- the own CA -----------------------------------------------------------------------


def own_ca(config: Config) -> Iterator[str]:
    """Tell of identifiers and usages that ssl-mgr's CA got wrong."""
    tree = Tree(str(config.globals.certs_dir))
    misled, usages, outlives = [], [], []
    for cert, service in config.services.items():
        signer = service.spec.signer
        own = _cert(tree, cert)
        issuer = _cert(tree, signer.cert) if isinstance(signer, OwnCa) else None
        if own is None:
            continue
        try:
            is_ca = cert.group == GroupName.CA
            if is_ca and find(own, x509.ExtendedKeyUsage) is not None:
                usages.append(cert.service)
            if issuer is None or own.issuer != issuer.subject:
                continue
            if _names_another(own, issuer):
                misled.append(str(cert))
            if is_ca and own.not_valid_after_utc > issuer.not_valid_after_utc:
                outlives.append(cert.service)
        except (SslmError, ValueError) as err:
            yield f"{cert}: its certificate is damaged: {err}"
    if misled:
        yield (
            f"the authority key identifier of {', '.join(misled)} is not that of the CA above, so "
            "openssl verify refuses it; what sslmd signs has the right one"
        )
    if usages:
        yield f"{', '.join(usages)} carries extended key usages, which a CA should not"
    if outlives:
        yield f"{', '.join(outlives)} is valid for longer than its root"
    if misled or usages or outlives:
        yield (
            "to put it right with the same CA keys, the root first: sslmctl renew --force --reuse "
            "ca:NAME && sslmctl roll --force ca:NAME; otherwise it happens when each is due"
        )


def _cert(tree: Tree, cert: CertId) -> x509.Certificate | None:
    try:
        return load_cert(files.read_file(f"{tree.link(cert, CURR)}/cert.pem"))
    except (SslmError, OSError, ValueError):
        return None


def _names_another(own: x509.Certificate, issuer: x509.Certificate) -> bool:
    named = find(own, x509.AuthorityKeyIdentifier)
    right = find(issuer, x509.SubjectKeyIdentifier)
    return named is not None and right is not None and named.key_identifier != right.digest


# --- production, servers --------------------------------------------------------------


def lost(config: Config, certs: Sequence[Adopted]) -> list[str]:
    """Return the certificates that production has and the working tree lacks.

    Raises `SslmError` if production cannot be looked at.
    """
    there = survey(str(config.globals.prod_cert_dir))
    return [str(one.cert) for one in certs if one.state.curr is None and one.cert in there]


def production(config: Config, certs: Sequence[Adopted]) -> Iterator[str]:
    """Tell what becomes of the production tree. Raises `SslmError`."""
    prod, tree = str(config.globals.prod_cert_dir), Tree(str(config.globals.certs_dir))
    there = survey(prod)
    anew, same = [], 0
    for one in certs:
        if one.state.curr is None or one.hold:
            continue
        is_ca = one.cert.group == GroupName.CA
        try:
            if serves(tree, prod, one.cert, one.state.curr.name, is_ca=is_ca):
                same += 1
                continue
        except SslmError:
            pass
        anew.append(one.cert)
    if same and not anew:
        yield "it holds every curr already: no server is restarted by the move"
    for cert in anew:
        classes = ", ".join(one.kind for one in config.users_of(cert))
        restarts = f"; restarts {classes}" if classes else ""
        yield f"{cert}: another set, or none, is there: curr is delivered{restarts}"
    unlinked = [cert for cert, linked in there.items() if not linked and cert in config.services]
    if unlinked:
        number = count(len(unlinked), "certificate")
        yield f"curr of {number} is a directory there: it becomes a link, at one instant"
    keys = [
        path
        for name in (PRIVKEY, BUNDLE)
        for path in sorted(glob.glob(f"{glob.escape(prod)}/{GroupName.CA}/*/*/{name}"))
    ]
    if keys:
        yield (
            f"keys of CAs are there ({', '.join(keys[:2])}): removed with the first delivery. "
            "Servers may have got them too: a root key that was on many machines is best replaced"
        )
    for cert, linked in there.items():
        if cert in config.services or cert.group in config.inactive:
            continue
        then = "taken away" if linked else "left alone, as sslmd did not put it there"
        yield f"{cert} is there, but not in the configuration: {then}"


def servers(config: Config) -> Iterator[str]:
    """Tell what servers get that ssl-mgr did not give, and the other way round."""
    for one in config.server_classes:
        if not one.servers:
            continue
        if len(one.svc_depends) > 1:
            last = one.svc_depends[-1]
            more = [str(cert) for cert in config.services if one.receives(cert)]
            more = [name for name in more if not last.matches(CertId.parse(name))]
            if more:
                yield f"[{one.kind}] restarts for {', '.join(more)} as well: every entry counts"
        if one.skip_prod_copy:
            continue
        for host in one.servers:
            if is_local(machine_of(host)):
                continue
            certs = [str(cert) for cert in config.services if one.receives(cert)]
            what = ", ".join(certs) or "nothing: no svc_depends grants it any"
            yield (
                f"[{one.kind}] {host} gets {what}; what else ssl-mgr has copied there is reported, "
                f"and {'removed' if one.prune else 'left (prune = true removes it)'}"
            )


# --- DNS, accounts --------------------------------------------------------------------


def dns(config: Config) -> Iterator[str]:
    """Tell of what include files hold."""
    for zone in sorted(config.zones(), key=str):
        for folder in config.dns.acme_dirs:
            path = challenge_file(folder, zone)
            if left := read_challenges(path):
                told = count(len(left), "challenge")
                yield f"{path} still holds {told}: they stay until the next order of the zone"
        for folder in config.dns.tlsa_dirs:
            path = tlsa_file(folder, zone)
            content = read_tlsa(path, 0)
            if content:
                number = sum(len(one.records) for one in content.values())
                yield (
                    f"{path} has {count(number, 'TLSA record')}: the file stays as it is if these "
                    "are those of keys in use or on deck"
                )


def accounts(config: Config) -> Iterator[str]:
    """Tell which accounts at ACME CAs are used on."""
    tree = Tree(str(config.globals.certs_dir))
    for cert in config.services:
        pattern = f"{glob.escape(tree.certbot_dir(cert))}/accounts/*/directory/*"
        found = sorted(path for path in glob.glob(pattern) if os.path.isdir(path))
        by_server: dict[str, int] = {}
        for path in found:
            server = path.split("/")[-3]
            by_server[server] = by_server.get(server, 0) + 1
        for server, number in by_server.items():
            which = "it is" if number == 1 else "the newest is"
            yield f"{cert}: {count(number, 'account')} at {server}; {which} used on"


# --- what starts ssl-mgr --------------------------------------------------------------


def timers() -> Iterator[str]:
    """Tell of what would go on running ssl-mgr beside the daemon."""
    for pattern in _TIMERS:
        for path in sorted(glob.glob(pattern)):
            try:
                text = files.read_file(path).decode(errors="replace")
            except (SslmError, OSError):
                continue
            started = set(_STARTS_IT.findall(text))
            if "sslm-mgr" in started:
                yield (
                    f"{path} starts sslm-mgr: not needed any more. sslmd's own does no harm "
                    "there; ssl-mgr's must not work on the tree of a daemon"
                )
            if "sslm-dhparm" in started:
                yield (
                    f"{path} starts sslm-dhparm: keep that, sslmd's own does the same; or write "
                    "[dh] into ssl-mgr.conf, and the daemon sees to these groups by itself"
                )
