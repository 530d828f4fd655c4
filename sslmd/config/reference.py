"""The configuration reference, made of the schema: `python -m sslmd.config.reference`."""

from __future__ import annotations

import sys
from enum import Enum

from pydantic.fields import FieldInfo

from sslmd.config.cert_tables import CaInfo, CaOptionsTable, KeyTable, NameTable, ServiceFile
from sslmd.config.notify_tables import NotifyOptions
from sslmd.config.server_tables import WEB_ALONE, DnsOptions, DnsPrimary, ServerClass
from sslmd.config.table import Table, table_of
from sslmd.config.tables import DhOptions, GlobalOptions, GroupTable, RenewInfo

_INTRO = """\
# Configuration reference

<!-- Made of the schema in sslmd/config by `python -m sslmd.config.reference`. -->

The configuration is a directory of TOML files: the one given by `--conf-dir`, else
`$SSL_MGR_TOPDIR/conf.d`, else `/etc/ssl-mgr/conf.d`.

```text
conf.d/ssl-mgr.conf             what is looked after, and the servers that use it
conf.d/ca-info.conf             the CAs
conf.d/<group>/<service>        one file per certificate; a group is an apex domain, or ca
```

The folder that holds the directory is the *top directory* (`<top>`): relative paths in the
files start there. `sslmd --check-config` reads everything and reports every mistake at once,
as `file:line: key: what is wrong; what would be right`. Keys that are not known are warned
about. Files and folders must not be writable for everybody, and must belong to root or to the
user of the daemon, because they name commands that it runs.

Where a list is asked for, a single text will do. Times may have fractions.
"""

_SECTIONS: tuple[tuple[str, str, type[Table]], ...] = (
    ("ssl-mgr.conf: `[globals]`", "", table_of(GlobalOptions)),
    (
        "ssl-mgr.conf: `[renew_info]`",
        "Of ssl-mgr 7: when to renew, by how long a certificate lives. Where the table is there, "
        "even empty, it counts for every certificate. Between two lives the days follow a straight "
        "line; beyond the longest they stay the same share of the life. `renew_expire_days` and "
        "its spread, in `[globals]` or a service file, are then other names of `target_90` and "
        "`rand_adj_90`. At most a third of the life counts (half of it, under 10 days): with "
        "ssl-mgr's own values that is less than it has for lives of 10 to 18 and of 91 to 139 "
        "days, and the renewal is later. A life with a fraction needs a quoted key "
        "(`'target_6.5'`).",
        RenewInfo,
    ),
    (
        "ssl-mgr.conf: `[[groups]]`",
        "One table per group. A CA of group `ca` that no active table lists signs with what it "
        "has, and is not renewed.",
        GroupTable,
    ),
    ("ssl-mgr.conf: `[[dns_primary]]`", "One table per zone that needs one.", table_of(DnsPrimary)),
    ("ssl-mgr.conf: `[dns]`", "", table_of(DnsOptions)),
    (
        "ssl-mgr.conf: `[smtp]`, `[imap]`, `[web]`, `[other]`",
        "The server classes. On each host they are restarted in the order of the file.",
        table_of(ServerClass, WEB_ALONE),
    ),
    ("ssl-mgr.conf: more keys of `[web]`", "", table_of(ServerClass)),
    (
        "ssl-mgr.conf: `[dh]`",
        "Diffie-Hellman groups on this machine, for servers that offer DHE. Without the table "
        "there are none.",
        table_of(DhOptions),
    ),
    (
        "ssl-mgr.conf: `[[notify]]`",
        "Who hears of what is wrong: one table for each, with `to`, `to_file` or `command`. "
        "docs/monitoring/mail.md has examples.",
        table_of(NotifyOptions),
    ),
    ("ca-info.conf", "One table per CA; its name is what `signing_ca` says.", table_of(CaInfo)),
    ("Service files", "", ServiceFile),
    ("Service files: `[KeyOpts]`", "", KeyTable),
    ("Service files: `[X509]`", "Empty texts are left out of the certificate.", NameTable),
    ("Service files: `[CA]`", "Only in group `ca`.", CaOptionsTable),
)


def reference() -> str:
    """Return the whole reference as Markdown."""
    parts = [_INTRO]
    for title, text, table in _SECTIONS:
        rows = [
            _row(name, field)
            for name, field in table.model_fields.items()
            if table is not table_of(ServerClass) or name in WEB_ALONE
        ]
        head = f"## {title}\n\n" + (f"{text}\n\n" if text else "")
        parts.append(head + "| key | type | default | meaning |\n| --- | --- | --- | --- |\n")
        parts[-1] += "".join(rows)
    return "\n".join(parts)


def _row(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    kind = extra["kind"] if isinstance(extra, dict) else ""
    cells = (f"`{name}`", str(kind), _default(field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra["shown"] is not None:
        return str(extra["shown"])
    if field.is_required():
        return "**required**"
    value = field.default
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, Table):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(f"`{one}`" for one in value) or "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value not in ("", None) else "none"


if __name__ == "__main__":
    sys.stdout.write(reference())
