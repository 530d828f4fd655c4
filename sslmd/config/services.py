"""From a service file to a `ServiceConfig`, and what the CAs are to each other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from sslmd.config.build import check_spread, timing
from sslmd.config.cert_tables import CaOptionsTable, NameTable, ServiceFile
from sslmd.config.dane import dane_entries
from sslmd.config.kinds import RenewBy
from sslmd.config.locate import KeyPath
from sslmd.config.model import CaInfo, GlobalOptions, ServiceConfig
from sslmd.config.names import check_acme_names, check_mailbox, check_subject
from sslmd.config.renew import Leads, changed, warn_own_days
from sslmd.config.renew import of as leads_of
from sslmd.config.report import Source, nearest
from sslmd.core.names import BadName, CertId, GroupName, SanName, shown
from sslmd.core.spec import (
    DIGESTS,
    AcmeCa,
    CaOptions,
    CertSpec,
    KeySpec,
    KeyType,
    OwnCa,
    SelfSigned,
    Signer,
    Subject,
    Timing,
)

T = TypeVar("T")

_CANONICAL = json.JSONEncoder(sort_keys=True, default=str, ensure_ascii=False)
_CA_GROUP = GroupName.CA
# Seconds; ssl-mgr 7 leaves the TTL to the zone where none is wanted, and a roll has to know it.
DANE_TTL = 1800
_SELDOM_VERIFIED = frozenset(DIGESTS) - {"sha256", "sha384", "sha512"}
# In the order of `Subject`.
_SUBJECT = ("CN", "O", "OU", "L", "ST", "C", "email")
# Of a service file, what says nothing about the certificate itself.
_BESIDE = ("roll_window", "restart_window", "used_by", "renew_by")


@dataclasses.dataclass(frozen=True, slots=True)
class CaTables:
    """`ca-info.conf`: as it was written, and the CAs that are right.

    `wrong` names the tables with mistakes, which are told already; None: the whole file.
    """

    source: Source
    raw: Mapping[str, object]
    infos: Mapping[str, CaInfo]
    wrong: frozenset[str] | None

    def own_names(self) -> list[str]:
        """Return the names of the site's own CAs."""
        return [name for name, info in self.infos.items() if info.is_own]


class Builder:
    """Makes services of checked files. `ca_files`: the names in `conf.d/ca`."""

    def __init__(self, options: GlobalOptions, cas: CaTables, ca_files: frozenset[str]) -> None:
        self._options = options
        self._tables = cas
        self._cas = cas.infos
        self._ca_files = ca_files
        # One of every equal value, so that thousands of services share them.
        self._shared: dict[Any, Any] = {}
        self._timings: dict[tuple[float, float, RenewBy], Timing] = {}

    def build(
        self,
        cert: CertId,
        raw: Mapping[str, object],
        file: ServiceFile,
        source: Source,
        *,
        managed: bool,
    ) -> ServiceConfig | None:
        """Return the service, None if a mistake (noted) leaves nothing to return."""
        same = self._same
        before, is_ca = len(source.report.mistakes), cert.group == GroupName.CA
        signer = self._signer(cert, file, source)
        self._check_place(cert, file, source)
        check_subject(cert, file.X509, source)
        keys, ca = file.KeyOpts, None
        key = KeySpec(KeyType.EC, curve=keys.ec_algo)
        if keys.ktype is KeyType.RSA:
            key = KeySpec(KeyType.RSA, bits=keys.rsa_bits or 4096)
        if is_ca:  # a life of zero and a missing height are filled in by `cas.with_heights`
            table = file.CA or CaOptionsTable()
            ca = CaOptions(timedelta(days=table.sign_end_days or 0), table.digest, None)
        spec = CertSpec(
            id=cert,
            title=file.name or str(cert),
            key=same(key),
            subject=Subject(*(same(getattr(file.X509, part)) for part in _SUBJECT)),
            names=self._names(file.X509, source),
            signer=same(signer or SelfSigned()),
            ext_key_usage=() if is_ca else same(tuple(file.X509.ext_key_usage)),
            ca=ca,
        )
        if not spec.names and not is_ca and not spec.all_names():
            source.mistake(
                ("X509", "sans"), "there is no name to certify", "add sans = ['host.name']"
            )
        if isinstance(signer, OwnCa):
            check_mailbox(spec, source)
        if isinstance(signer, AcmeCa):
            check_acme_names(spec, self._cas[signer.name], source)
        if spec.ca is not None:
            self._check_digest(spec.ca.digest, file, source)
        dane = dane_entries(file.dane_tls, raw.get("dane_tls"), spec, signer, source)
        service = ServiceConfig(
            spec=spec,
            timing=self._timing(file, source),
            fingerprint=fingerprint(raw, self._tables.raw.get(file.signing_ca or "")),
            dane=same(dane),
            dane_ttl=same(file.dane_tls_ttl or DANE_TTL),
            dane_next_key=file.dane_next_key or self._options.dane_next_key,
            managed=managed,
            roll_window=same(tuple(file.roll_window)),
            restart_window=same(tuple(file.restart_window)),
            used_by=file.used_by,
        )
        return service if signer and len(source.report.mistakes) == before else None

    def _signer(self, cert: CertId, file: ServiceFile, source: Source) -> Signer | None:
        name = file.signing_ca
        key: KeyPath = ("signing_ca",)
        if name in (None, "", "self"):
            if _is_ca(cert):
                return SelfSigned()
            source.mistake(
                key,
                "it is missing" if name is None else "only CAs (group ca) sign themselves",
                f"write the name of a table of {self._tables.source.path}",
            )
            return None
        name = str(name)
        info = self._cas.get(name)
        if info is None:
            # Of a table with mistakes, those were reported already.
            if self._tables.wrong is not None and name not in self._tables.wrong:
                known = [*self._cas, "self"]
                remedy = nearest(name, known, "known are: ")
                if remedy.startswith("did you mean"):
                    remedy += f" Known are: {', '.join(sorted(known))}"
                elif name in self._ca_files:
                    remedy = f"add a table [{name}] with ca_type = 'local' there"
                where = self._tables.source.path
                source.mistake(key, f"{where} has no table {shown(name)}", remedy)
            return None
        if not info.is_own:
            if _is_ca(cert):
                source.mistake(
                    key,
                    f"{shown(info.name)} is an ACME CA, and those sign no CAs",
                    nearest("", ["self", *self._tables.own_names()], "write one of: "),
                )
            return AcmeCa(info.name)
        if info.name not in self._ca_files:
            source.mistake(
                key,
                f"CA {shown(info.name)} has no service file conf.d/ca/{info.name}",
                f"write that file (there are: {', '.join(sorted(self._ca_files)) or 'none'}), or "
                "name another CA",
            )
            return None
        return OwnCa(CertId(_CA_GROUP, info.name))

    def _check_place(self, cert: CertId, file: ServiceFile, source: Source) -> None:
        """The keys `group` and `service` must say what the path says; the name must be free."""
        try:
            cert.check_free()
        except BadName as err:
            source.mistake(("service",), str(err), "give the file and the service another name")
        if file.service != cert.service:
            source.mistake(
                ("service",),
                f"{shown(file.service)} is not the name of the file",
                f"write service = {cert.service!r}",
            )
        if file.group != cert.group and _parsed(file.group) != cert.group:
            source.mistake(
                ("group",),
                f"{shown(file.group)} is not the name of the folder",
                f"write group = {cert.group!r}",
            )
        if file.CA and not _is_ca(cert):
            source.mistake(
                ("CA",),
                "only services of group ca sign certificates",
                "remove the table, or move the file to conf.d/ca",
            )

    def _same(self, value: T) -> T:
        """Return the first value that was equal to this one."""
        return self._shared.setdefault(value, value)  # type: ignore[no-any-return]

    def _names(self, table: NameTable, source: Source) -> tuple[SanName, ...]:
        names: dict[int, SanName] = {}
        for index, parsed in enumerate(table.sans):
            name = self._same(parsed)
            if id(name) in names:  # there is one of each, and this spares a slow hash
                source.warn(
                    ("X509", "sans", index),
                    f"{shown(str(name))} is there twice",
                    "remove one of them",
                )
            names[id(name)] = name
        return tuple(names.values())

    def _check_digest(self, digest: str, file: ServiceFile, source: Source) -> None:
        """Warn about a hash that clients do not verify: tried with OpenSSL 3.0, GnuTLS and Go."""
        if digest not in _SELDOM_VERIFIED:
            return
        whom = "programs in Go do not verify"
        if digest != "sha224" and file.KeyOpts.ktype is KeyType.EC:
            whom = "OpenSSL 3.0 and programs in Go do not verify"
        source.warn(
            ("CA", "digest"),
            f"{whom} what a CA with {file.KeyOpts.ktype} keys signs with {digest}",
            "write 'sha256' or 'sha384'",
        )

    def _timing(self, file: ServiceFile, source: Source) -> Timing:
        default = self._options.timing
        days, spread = file.renew_expire_days, file.renew_expire_days_spread
        renew_by = file.renew_by or self._options.renew_by
        if days is None and spread is None:
            by_ca = renew_by is RenewBy.CA
            return (
                default
                if default.by_ca == by_ca
                else self._same(dataclasses.replace(default, by_ca=by_ca))
            )
        if default.by_life is not None and days is not None:
            warn_own_days(source, days, default.by_life)
        key: KeyPath = ("renew_expire_days_spread",) if spread is not None else ()
        own = days, spread
        if days is None:
            days = default.renew_before / timedelta(days=1)
        if spread is None:
            spread = min(default.spread / timedelta(days=1), days)
        if key:
            check_spread(source, key, days, spread)
        known = self._timings.get((days, spread, renew_by))
        if known is None:
            leads = Leads(days, spread)
            if default.by_life is not None:
                leads = leads_of(changed(default.by_life, *own))
            known = timing(leads, default.min_roll, renew_by)
            self._timings[days, spread, renew_by] = known
        return known


def fingerprint(raw: Mapping[str, object], ca_table: object) -> str:
    """Return a short hash of what a service file and its CA's table ask.

    Windows, `used_by` and `renew_by` are left out: a changed one is no reason to stop an order and
    begin another, nor to try again what failed.
    """
    asked = _CANONICAL.encode([{k: v for k, v in raw.items() if k not in _BESIDE}, ca_table])
    return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _parsed(group: str) -> str:
    try:
        return GroupName.parse(group).text
    except BadName:
        return ""


def _is_ca(cert: CertId) -> bool:
    return cert.group == _CA_GROUP
