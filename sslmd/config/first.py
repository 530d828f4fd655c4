"""The text of a first configuration, for `sslmd init`. Pure: what is where comes in as answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from pathlib import PurePosixPath

from sslmd.config.model import ServerKind
from sslmd.config.model import Validation as Validation
from sslmd.config.tables import PUBLIC_RESOLVERS

ROOT, INTERMEDIATE, PUBLIC = "my-root", "my-int", "letsencrypt"
BIND_RELOAD = "tools/bind-reload"
ACME_DIR, TLSA_DIR, SERVER_DIR = "/etc/bind/acme", "/etc/bind/tlsa", "/var/www/acme"

_MAIL = re.compile(r"(?:e?mail|smtp|imap|mx|mta)(?![a-z])")
_WEB = re.compile(r"(?:web|www|https?)(?![a-z])")


class FirstCa(StrEnum):
    """Who signs."""

    OWN = "own"
    LETSENCRYPT = "letsencrypt"


@dataclass(frozen=True)
class Service:
    """A certificate to begin with, and the names it is for."""

    name: str
    names: tuple[str, ...]

    @property
    def kinds(self) -> tuple[ServerKind, ...]:
        """Return the server classes that its name speaks of."""
        if _MAIL.match(self.name):
            return ServerKind.SMTP, ServerKind.IMAP
        if _WEB.match(self.name):
            return (ServerKind.WEB,)
        return (ServerKind.OTHER,)


@dataclass(frozen=True)
class Found:
    """A server on this machine: its program, and the command that has it take a certificate."""

    program: str
    restart: str


@dataclass(frozen=True)
class Answers:
    """What an admin said, and what was found on the machine.

    `found`: by class, the server that is there. `conf_dir`: where the files will be. `resolvers`:
    those of the usual `dns_xtra_ns` that answer from here; None: all do, or nobody knows.
    """

    domain: str
    services: tuple[Service, ...]
    ca: FirstCa
    validation: Validation = Validation.DNS_01
    email: str = ""
    dane: bool = False
    conf_dir: str = "/etc/ssl-mgr/conf.d"
    found: Mapping[ServerKind, Found] = field(default_factory=dict)
    resolvers: tuple[str, ...] | None = None

    @property
    def needs_dns(self) -> bool:
        """Whether something has to be written into zones."""
        return self.dane or self.needs_challenges

    @property
    def needs_challenges(self) -> bool:
        """Whether challenges have to be written into zones."""
        return self.ca is FirstCa.LETSENCRYPT and self.validation is Validation.DNS_01

    @property
    def needs_web(self) -> bool:
        """Whether a web server has to show challenges."""
        return self.ca is FirstCa.LETSENCRYPT and self.validation is Validation.HTTP_01

    def services_of(self, kind: ServerKind) -> list[Service]:
        """Return the services that servers of that class use."""
        return [service for service in self.services if kind in service.kinds]

    def is_served(self, service: Service) -> bool:
        """Return whether a class is written that uses it."""
        shows = self.needs_web and ServerKind.WEB in service.kinds
        return shows or any(kind in self.found for kind in service.kinds)

    def live(self, service: Service) -> str:
        """Return the folder where servers find the certificate in use, and its key."""
        top = PurePosixPath(self.conf_dir).parent
        return f"{top}/prod-certs/{self.domain}/{service.name}/curr"


def usual_names(domain: str, service: str, ca: FirstCa, validation: Validation) -> tuple[str, ...]:
    """Return the names that a service of that name is mostly for."""
    kinds = Service(service, ()).kinds
    if ServerKind.SMTP in kinds:
        return (f"mail.{domain}",)
    if ServerKind.WEB not in kinds:
        return (f"{service.split('-')[0]}.{domain}",)
    # No web server can prove a wildcard (RFC 8555, section 7.1.3).
    if ca is FirstCa.LETSENCRYPT and validation is Validation.HTTP_01:
        return domain, f"www.{domain}"
    return domain, f"*.{domain}"


def first_files(answers: Answers) -> dict[str, str]:
    """Return every file of a first configuration, by its path below `conf.d`."""
    found = {"ssl-mgr.conf": _main(answers), "ca-info.conf": _cas(answers)}
    if answers.ca is FirstCa.OWN:
        found[f"ca/{ROOT}"] = _ROOT_FILE.format(domain=answers.domain)
        found[f"ca/{INTERMEDIATE}"] = _INTERMEDIATE_FILE.format(domain=answers.domain)
    for service in answers.services:
        found[f"{answers.domain}/{service.name}"] = _service(answers, service)
    if answers.needs_dns:
        found[BIND_RELOAD] = (files("sslmd.config") / BIND_RELOAD).read_text(encoding="utf-8")
    return found


def _quoted(words: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"


# --- ssl-mgr.conf ---------------------------------------------------------------------


def _main(answers: Answers) -> str:
    parts = [_GLOBALS.format(resolvers=_resolvers(answers))]
    if answers.ca is FirstCa.OWN:
        parts.append(_CA_GROUP)
    names = _quoted([service.name for service in answers.services])
    parts.append(
        f"[[groups]]\n    active = true\n    domain = '{answers.domain}'\n    services = {names}\n"
    )
    if answers.needs_dns:
        parts.append(_dns(answers))
    parts.append(_CLASSES_HEAD)
    parts.extend(_classes(answers))
    return "\n".join(parts)


def _resolvers(answers: Answers) -> str:
    """Return `dns_xtra_ns` where the default would keep orders waiting; "" where it would not."""
    if answers.resolvers is None or not answers.needs_challenges:
        return ""
    silent = ", ".join(one for one in PUBLIC_RESOLVERS if one not in answers.resolvers)
    return (
        "\n    # Resolvers that have to show a challenge before the CA is asked to look. Here was\n"
        f"    # no answer of {silent}.\n"
        f"    dns_xtra_ns = {_quoted(answers.resolvers)}\n"
    )


def _dns(answers: Answers) -> str:
    tool = f"{answers.conf_dir}/{BIND_RELOAD}"
    lines = [
        "",
        "# Where DNS changes are made, and how: by files that zone files $INCLUDE. operations.md",
        "# has all of it, and the other way: dynamic updates (RFC 2136).",
        "",
        "[[dns_primary]]",
        "    domain = 'default'",
        "    server = '127.0.0.1'",
        "",
        "[dns]",
        "    # Raises the zone's serial, checks the zone, reloads it. Where are your zone files?",
        f'    restart_cmd = "systemd-run --quiet --wait --collect --pipe {tool}'
        " --zone-file '/etc/bind/zones/{zone}'\"",
        f"    acme_dir = '{ACME_DIR}'",
    ]
    if answers.dane:
        lines.append(f"    tlsa_dirs = ['{TLSA_DIR}']")
    return "\n".join([*lines, ""])


def _classes(answers: Answers) -> Iterator[str]:
    for kind in (ServerKind.SMTP, ServerKind.IMAP, ServerKind.WEB, ServerKind.OTHER):
        services = answers.services_of(kind)
        shows = kind is ServerKind.WEB and answers.needs_web
        found = answers.found.get(kind)
        if not services and not shows:
            continue
        lines = [
            f"[{kind}]",
            "    servers = ['localhost']             # others: 'web1.example.com', reached by ssh",
        ]
        if services:
            names = _quoted([service.name for service in services])
            command = found.restart if found else _COMMANDS_ELSEWHERE[kind]
            commented = "" if found or not shows else "# "
            lines += [
                f"    svc_depends = [['{answers.domain}', {names}]]",
                f"    {commented}restart_cmd = '{command}'",
            ]
            if kind in _PROVED:
                live = answers.live(services[0])
                lines += [
                    f"    # Have the server read {live}/fullchain.pem",
                    f"    # and {live}/privkey.pem: as soon as",
                    "    # it serves them, the daemon proves after each restart what is served.",
                ]
        else:
            lines.append(
                "    svc_depends = []                    # no certificate: challenges only"
            )
        if shows:
            lines += [
                "    # Challenges: <server_dir>/<group>/.well-known/acme-challenge/, for port 80.",
                f"    server_dir = '{SERVER_DIR}'",
            ]
        if found or shows:
            yield "".join(f"{line}\n" for line in lines)
        else:
            yield "# No such server was found on this machine.\n" + "".join(
                f"# {line}\n" for line in lines
            )


# Classes with ports that are looked at by default.
_PROVED = frozenset({ServerKind.SMTP, ServerKind.IMAP, ServerKind.WEB})

_COMMANDS_ELSEWHERE = {
    ServerKind.SMTP: "systemctl reload postfix",
    ServerKind.IMAP: "systemctl reload dovecot",
    ServerKind.WEB: "systemctl reload nginx",
    ServerKind.OTHER: "systemctl restart prosody",
}

_GLOBALS = """\
# The main configuration of sslmd, made by `sslmd init`. Every key is described in
# config-reference.md. Relative paths start at the folder above conf.d.
# After a change: sslmd --check-config, then systemctl reload sslmd.

[globals]
    # certs_dir = 'certs'               # working tree: every set of every certificate
    # prod_cert_dir = 'prod-certs'      # what the servers use
    clean_keep = 5                      # newest sets kept beside curr, next and prev
    min_roll_mins = 90                  # a renewed certificate waits this long before its use
    dns_check_delay = 0                 # seeing a challenge on every name server is enough
    renew_expire_days = 30              # at most a third of a certificate's life counts
    renew_expire_days_spread = 3        # +- days, so that not everything renews on one day
{resolvers}

# Groups: one folder of service files each. A certificate is issued for every service listed.
# Groups without active = true are left alone.
"""

_CA_GROUP = f"""\
[[groups]]
    active = true
    domain = 'ca'                       # the site's own CA
    services = ['{ROOT}', '{INTERMEDIATE}']
"""

_CLASSES_HEAD = """\

# Servers, by class. A class gets only the certificates that its svc_depends names, below
# prod-certs, and is restarted when one of them changes, in the order of this file.
"""


# --- ca-info.conf ---------------------------------------------------------------------


def _cas(answers: Answers) -> str:
    head = "# The CAs that a service file can name as its signing_ca.\n\n"
    public = _PUBLIC_CA.format(name=PUBLIC, validation=answers.validation)
    if answers.ca is FirstCa.OWN:
        return head + _OWN_CA + _SPARE_HEAD + "".join(f"# {line}\n" for line in public.split("\n"))
    return head + public + "\n"


_OWN_CA = f"""\
[{ROOT}]
    ca_desc = 'Our root, which clients trust (sslmctl trust): it signs only the CA below'
    ca_type = 'self'

[{INTERMEDIATE}]
    ca_desc = 'Our working CA: it signs certificates of servers'
    ca_type = 'local'
"""

_SPARE_HEAD = """
# A public CA, for services that the world shall trust. It needs [[dns_primary]] and [dns]
# (dns-01), or server_dir in [web] (http-01).
"""

_PUBLIC_CA = """\
[{name}]
    ca_desc = "Let's Encrypt"
    ca_type = 'certbot'                 # with this you agree to the CA's terms of service
    ca_validation = '{validation}'
    # ca_preferred_acme_profile = 'tlsserver'"""


# --- service files --------------------------------------------------------------------


def _service(answers: Answers, service: Service) -> str:
    signer = INTERMEDIATE if answers.ca is FirstCa.OWN else PUBLIC
    lines = [
        f"# {answers.domain}: {', '.join(service.names)}",
        f"name = '{answers.domain} {service.name}'",
        f"group = '{answers.domain}'",
        f"service = '{service.name}'",
        f"signing_ca = '{signer}'",
        "",
    ]
    if not answers.is_served(service):
        lines += [
            "# No server was found here that uses it. When a class of ssl-mgr.conf names it,",
            "# remove this line.",
            "used_by = 'none'",
            "",
        ]
    if answers.dane:
        port, hosts = (25, "MX") if ServerKind.SMTP in service.kinds else (443, "SANS")
        lines += [
            "# TLSA records for the ports that serve this certificate; the zone has to be signed.",
            f"dane_tls = [[{port}, 'tcp', 3, 1, 1, '{hosts}']]",
            "",
        ]
    rsa = service.name.endswith("-rsa")
    lines += ["[KeyOpts]"]
    lines += (
        ["    ktype = 'rsa'", "    rsa_bits = 3072"]
        if rsa
        else ["    ktype = 'ec'", "    ec_algo = 'secp256r1'"]
    )
    lines += ["", "[X509]", f"    CN = '{service.names[0]}'"]
    if answers.ca is FirstCa.OWN:
        lines.append(f"    O = '{answers.domain}'")
    if answers.email and answers.ca is not FirstCa.OWN:
        lines.append(f"    email = '{answers.email}'           # contact of the account at the CA")
    lines.append(f"    sans = {_quoted(service.names)}")
    return "\n".join([*lines, ""])


_ROOT_FILE = f"""\
# The root: it signs itself, and the CA {INTERMEDIATE}.
name = 'Root'
group = 'ca'
service = '{ROOT}'
signing_ca = 'self'

[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp384r1'

[X509]
    CN = '{{domain}} root'
    O = '{{domain}}'

[CA]
    sign_end_days = 3650                # of what it signs, its own certificate included
    digest = 'sha384'
"""

_INTERMEDIATE_FILE = f"""\
# The CA for daily work, signed by {ROOT}.
name = 'Intermediate'
group = 'ca'
service = '{INTERMEDIATE}'
signing_ca = '{ROOT}'

[KeyOpts]
    ktype = 'ec'
    ec_algo = 'secp384r1'

[X509]
    CN = '{{domain}} intermediate'
    O = '{{domain}}'

[CA]
    sign_end_days = 90                  # what it signs lives so long, and is renewed in time
    digest = 'sha384'
"""
