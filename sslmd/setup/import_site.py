"""What `sslmctl import --check` says beside what the first start would do.

Of the tree (keys, own CA, accounts, servers) and of what is around it (DNS, the unit, cron). Reads
only: nothing here changes anything. ssl-mgr 5.2 to 7.8 is meant; docs/moving-from-ssl-mgr.md has
what differs in words.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sslmd.config.model import Config, ServiceConfig
from sslmd.console.text import count
from sslmd.core.dane.tlsa import DaneEntry, TlsaHosts, endpoint_of, hosts_of
from sslmd.core.errors import SslmError
from sslmd.core.names import BadName, CertId, DomainName, GroupName, machine_of
from sslmd.core.reason import Reason
from sslmd.core.spec import AcmeCa, OwnCa
from sslmd.pki.chain import find, load_cert
from sslmd.pki.parsed import oid_name
from sslmd.servers import folders
from sslmd.servers import unit as units
from sslmd.servers.local import hosts_here, is_local
from sslmd.store import files
from sslmd.store.layout import CERT, CURR, Tree, tlsa_file
from sslmd.workers.rehearsal import Rehearsal
from sslmd.workers.zone_rehearsal import ZoneRehearsal

# --- DNS --------------------------------------------------------------------------------


def dns(config: Config, rehearsal: Rehearsal) -> Iterator[Reason | str]:
    """Report what include files hold, and where `dane_tls` means other hosts than ssl-mgr did."""
    for zone in rehearsal.zones:
        yield from zone.remarks
        number = sum(len(one.records) for one in zone.before.values())
        if number:
            paths = ", ".join(tlsa_file(folder, zone.name) for folder in config.dns.tlsa_dirs)
            yield f"zone {zone.name}: {count(number, 'TLSA record')} in {paths or 'no file'}"
        for cert in sorted(zone.zone.certs):
            yield from _other_hosts(zone, config.services[cert])


def _other_hosts(zone: ZoneRehearsal, service: ServiceConfig) -> Iterator[str]:
    """Report a port whose records ssl-mgr has at other hosts than sslmd would.

    Port 25 has one rule in both.
    """
    names, mx = service.spec.all_names(), zone.mx
    for entry in service.dane:
        # The hosts that have records for the port in the include file.
        there = set()
        for owner in zone.before:
            with suppress(BadName):
                port, proto, host = endpoint_of(owner)
                if (port, proto) == (entry.port, entry.proto):
                    there.add(host)
        ours = set(hosts_of(entry, zone.name, names, mx))
        if entry.port == 25 or not there or there == ours:
            continue
        numbers = f"{entry.port}, '{entry.proto}', {entry.usage}, {entry.selector}, {entry.match}"
        yield (
            f"{service.id}: ssl-mgr has the TLSA records of port {entry.port} at "
            f"{_listed(there)}, and sslmd would have them at {_listed(ours)}. To keep them where "
            f"they are, write into dane_tls: [{numbers}, {_sixth(entry, zone, service, there)}]"
        )


def _sixth(
    entry: DaneEntry, zone: ZoneRehearsal, service: ServiceConfig, wanted: set[DomainName]
) -> str:
    """Return the sixth element that gives just these hosts."""
    names, mx = service.spec.all_names(), zone.mx
    for word in (TlsaHosts.MX, TlsaHosts.SANS):
        other = DaneEntry(entry.port, entry.proto, entry.usage, entry.selector, entry.match, word)
        if set(hosts_of(other, zone.name, names, mx)) == wanted:
            return f"'{word}'"
    return "[" + ", ".join(f"'{host}'" for host in sorted(wanted)) + "]"


def _listed(hosts: Collection[DomainName]) -> str:
    return ", ".join(sorted(map(str, hosts))) or "no host"


# --- usages, groups ---------------------------------------------------------------------


def usages(config: Config) -> Iterator[str]:
    """Report extended key usages that a renewal would drop. CAs lose all, as they should."""
    tree = Tree(str(config.globals.certs_dir))
    dropped: dict[tuple[str, ...], list[CertId]] = defaultdict(list)
    for cert, service in config.services.items():
        if service.spec.ca is not None or isinstance(service.spec.signer, AcmeCa):
            continue
        own = cert_of(tree, cert)
        try:
            found = find(own, x509.ExtendedKeyUsage) if own is not None else None
        except (SslmError, ValueError):
            continue  # it is damaged
        if gone := set(map(oid_name, found or ())) - set(service.spec.ext_key_usage):
            dropped[tuple(sorted(gone))].append(cert)
    for names, certs in dropped.items():
        yield (
            f"{', '.join(names)}: in the certificate of {', '.join(map(str, certs))} now, and not "
            "in the next one. If a client needs it, write ext_key_usage into [X509] of the service "
            "file, with all that are wanted"
        )


def groups(config: Config) -> Iterator[str]:
    """Report the groups that are left alone."""
    for group in sorted(config.inactive):
        yield (
            f"{group} is not active, so nothing of it is renewed, delivered or removed, as with "
            "ssl-mgr. If it is wanted, write active = true into its [[groups]]"
        )


# --- the unit ---------------------------------------------------------------------------


def unit(config: Config, root: str) -> Iterator[str]:
    """Report what the unit does not allow, and the drop-in to paste."""
    installed = units.read_unit(root)
    found = list(units.limits(config, installed, hosts_here(config)))
    for one in found:
        yield one.text
    lines = units.drop_in(found)
    if lines:
        yield "to allow that, run: systemctl edit sslmd, and paste:"
        yield from (f"    {line}" for line in lines)


# --- what starts ssl-mgr ----------------------------------------------------------------

# Where programs are started by the clock.
_CRON = ("etc/crontab", "etc/anacrontab", "etc/cron.*/*", "var/spool/cron/*", "var/spool/cron/*/*")
_UNITS = (
    "etc/systemd/system/*.service",
    "run/systemd/system/*.service",
    "run/systemd/transient/*.service",
    "usr/local/lib/systemd/system/*.service",
    "usr/lib/systemd/system/*.service",
    "lib/systemd/system/*.service",
)
_STARTS_IT = re.compile(r"^(?![ \t]*[#;]).*\b(sslm-(?:mgr|dhparm))\b", re.MULTILINE)
# A program that is named by its whole path.
_PATHS = re.compile(r"(?<![\w/.-])(/[\w./+-]+)")

# Bytes of a file, and programs of it that are looked into.
_MOST = 1 << 16
_FOLLOWED = 50


@dataclass(frozen=True, slots=True)
class _Start:
    """A file that starts programs, by the way of the script `via` if that is not ""."""

    path: str
    programs: frozenset[str]
    via: str = ""


def timers(root: str = "/") -> Iterator[str]:
    """Report what would go on running ssl-mgr beside the daemon."""
    for pattern in _CRON:
        for path in sorted(glob.glob(f"{glob.escape(root)}/{pattern}")):
            if (found := _started_by(path, root)) is not None:
                yield from _told(found, f"take that out of {path}")
    seen: set[str] = set()
    for pattern in _UNITS:
        for path in sorted(glob.glob(f"{glob.escape(root)}/{pattern}")):
            name = os.path.basename(path)
            found = _started_by(path, root)
            if name in seen or found is None:
                continue
            seen.add(name)
            timer = f"{name.removesuffix('.service')}.timer"
            way_out = f"run: systemctl disable --now {timer} {name}"
            if not _is_on(path, (timer, name), root):
                way_out = (
                    f"neither {timer} nor {name} is enabled. If systemctl list-timers shows "
                    f"{timer}, run: systemctl stop {timer}"
                )
            yield from _told(found, way_out)


def _is_on(path: str, names: tuple[str, str], root: str) -> bool:
    """Whether systemd starts the unit at `path`, or its timer, by itself: a target wants one."""
    if "/transient/" in path:
        return True
    folders = (f"{glob.escape(root)}/{os.path.dirname(pattern)}" for pattern in _UNITS)
    wanted = (f"{folder}/*.{kind}/*" for folder in folders for kind in ("wants", "requires"))
    return any(os.path.basename(one) in names for pattern in wanted for one in glob.iglob(pattern))


def _told(one: _Start, way_out: str) -> Iterator[str]:
    via = f" (by {one.via})" if one.via else ""
    if "sslm-mgr" in one.programs:
        yield (
            f"{one.path} starts sslm-mgr{via}: not needed any more; {way_out}. sslmd's own does no "
            "harm there; ssl-mgr's must not work on the tree of a daemon"
        )
    if "sslm-dhparm" in one.programs:
        yield (
            f"{one.path} starts sslm-dhparm{via}: keep that, sslmd's own does the same; or write "
            "[dh] into ssl-mgr.conf, and the daemon makes these groups"
        )


def _started_by(path: str, root: str) -> _Start | None:
    """Return what a file starts of ssl-mgr's, itself or by a script that it names."""
    text = _text(path)
    if found := set(_STARTS_IT.findall(text)):
        return _Start(path, frozenset(found))
    lines = [line for line in text.splitlines() if line.lstrip()[:1] not in ("#", ";", "")]
    named = dict.fromkeys(path for line in lines for path in _PATHS.findall(line))
    for script in list(named)[:_FOLLOWED]:
        content = _text(f"{root}/{script}")
        if content.startswith("#!") and (found := set(_STARTS_IT.findall(content))):
            return _Start(path, frozenset(found), script)
    return None


def _text(path: str) -> str:
    """Return the beginning of a regular file, whoever owns it; "" if it cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return ""
        return os.read(handle, _MOST).decode(errors="replace")
    finally:
        os.close(handle)


_SHOWN = 5


def keys(config: Config, rehearsal: Rehearsal) -> Iterator[str]:
    """Report keys that others can read, and folders that they share.

    What to do for servers that read keys so.
    """
    yield from (str(one) for one in folders.look(config) if not one.refused)
    wide = [path for one in rehearsal.certs.values() for path in one.wide]
    for path in wide[:_SHOWN]:
        yield f"{path} can be read by others: it becomes 0600"
    if len(wide) > _SHOWN:
        yield f"and so do {len(wide) - _SHOWN} more"
    if wide:
        yield "whoever has read one has it: think of new keys (sslmctl force-renew)"
        yield (
            "a server that is not root's and reads one by its group cannot read it then: write "
            "key_group and key_mode = '0640' into its server class before the start"
        )


# --- the own CA -----------------------------------------------------------------------


def own_ca(config: Config) -> Iterator[str]:
    """Tell of identifiers and usages that ssl-mgr's CA got wrong."""
    tree = Tree(str(config.globals.certs_dir))
    misled, usages, outlives = [], [], []
    named: dict[bytes, dict[bytes, CertId]] = defaultdict(dict)
    for cert, service in config.services.items():
        signer = service.spec.signer
        own = cert_of(tree, cert)
        issuer = cert_of(tree, signer.cert) if isinstance(signer, OwnCa) else None
        if own is None:
            continue
        try:
            is_ca = cert.group == GroupName.CA
            if is_ca:
                form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                named[own.subject.public_bytes()][own.public_key().public_bytes(*form)] = cert
            if is_ca and find(own, x509.ExtendedKeyUsage) is not None:
                usages.append(cert.service)
            if issuer is None or own.issuer != issuer.subject:
                continue
            named_key = find(own, x509.AuthorityKeyIdentifier)
            right = find(issuer, x509.SubjectKeyIdentifier)
            if named_key and right and named_key.key_identifier != right.digest:
                misled.append(str(cert))
            if is_ca and own.not_valid_after_utc > issuer.not_valid_after_utc:
                outlives.append(cert.service)
        except (SslmError, ValueError) as err:
            yield f"{cert}: its certificate is damaged: {err}"
    for those in (list(found.values()) for found in named.values() if len(found) > 1):
        one, *others = map(str, those)
        yield (
            f"{', '.join(others)} and {one} have the same name and different keys: who has a "
            "certificate of one cannot tell which of them signed it; give one of them another CN"
        )
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


def cert_of(tree: Tree, cert: CertId) -> x509.Certificate | None:
    """Return the certificate in use; None where none can be read."""
    try:
        return load_cert(files.read_file(f"{tree.link(cert, CURR)}/{CERT}"))
    except (SslmError, OSError, ValueError):
        return None


# --- production, servers --------------------------------------------------------------


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


# --- accounts -------------------------------------------------------------------------


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
