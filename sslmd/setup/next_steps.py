"""What is left to do after `sslmd init`. Pure: lines to print, for the configuration written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from sslmd.config.first import ACME_DIR, SERVER_DIR, TLSA_DIR, Answers, FirstCa
from sslmd.config.load import locate_conf_dir
from sslmd.config.model import ServerKind

# Where the unit starts the program, unless a drop-in says otherwise.
_PROGRAM = "/usr/bin/sslmd"


def next_steps(answers: Answers, program: str | None) -> list[str]:
    """Return what to do now; `program`: where `sslmd` is, if it is known."""
    certs = ", ".join(f"{answers.domain}/{service.name}" for service in answers.services)
    return [
        f"{answers.conf_dir} is written, for {certs}. Look through it; then:",
        "",
        *(f"    {line}" for line in _steps(answers, program or _PROGRAM)),
    ]


def _steps(answers: Answers, program: str) -> Iterator[str]:
    usual = answers.conf_dir == str(locate_conf_dir(None, {}))
    option = "" if usual else f" --conf-dir {answers.conf_dir}"
    yield f"sslmd --check-config{option}"
    zones = [ACME_DIR] * answers.needs_dns + [TLSA_DIR] * answers.dane
    if zones:
        yield f"install -d -m 0755 {' '.join(zones)}      # the name server reads them"
    webs = [SERVER_DIR] * answers.needs_web
    if webs:
        yield f"install -d -m 0755 {SERVER_DIR}      # the web server reads it"
    drop_in = list(_drop_in(answers, program, usual=usual, folders=zones + webs))
    if drop_in:
        yield "systemctl edit sslmd     # write there:"
        yield from (f"#   {line}" for line in drop_in)
    yield "systemctl enable --now sslmd"
    if zones:
        yield f"# in the zone file of {answers.domain}:"
        yield f'#   $INCLUDE "{ACME_DIR}/acme-challenge.{answers.domain}"'
    if answers.dane:
        yield f'#   $INCLUDE "{TLSA_DIR}/tlsa.{answers.domain}"'
    if webs:
        yield f"# have the web server show, on port 80, {SERVER_DIR}/{answers.domain}/.well-known/"
    yield from _readers(answers)
    yield f"sslmctl doctor{option}           # looks at what usually goes wrong"
    yield "sslmctl status"
    if answers.ca is FirstCa.OWN:
        yield f"sslmctl trust{option}            # this machine, and its browsers, believe your CA"


def _drop_in(answers: Answers, program: str, *, usual: bool, folders: list[str]) -> Iterator[str]:
    """Yield what the unit has to be told: where the configuration is, and what it may write."""
    if usual and not folders:
        return
    yield "[Service]"
    if not usual:
        conf_dir = PurePosixPath(answers.conf_dir)
        folders = [str(conf_dir.parent), *folders]
        if conf_dir.name == "conf.d":
            yield f"Environment=SSL_MGR_TOPDIR={conf_dir.parent}"
        else:
            # A second ExecStart= would be a second command: systemd.service(5).
            yield "ExecStart="
            yield f"ExecStart={program} --conf-dir {conf_dir}"
    yield f"ReadWritePaths={' '.join(folders)}"


def _readers(answers: Answers) -> Iterator[str]:
    """Yield what servers are to read, for those that were found."""
    classes = []
    for kind in (ServerKind.SMTP, ServerKind.IMAP, ServerKind.WEB):
        services = answers.services_of(kind)
        if kind in answers.found and services:
            classes.append(f"[{kind}]")
            live = answers.live(services[0])
            yield f"# have {answers.found[kind].program} read {live}/fullchain.pem and privkey.pem"
    if classes:
        yield f"#   then: sslmctl status shows that {' '.join(classes)} serve it"
    for service in answers.services:
        if not answers.is_served(service):
            path = f"{answers.conf_dir}/{answers.domain}/{service.name}"
            yield f"# no server that uses {service.name} was found: name it in ssl-mgr.conf, and"
            yield f"#   remove used_by from {path}"
