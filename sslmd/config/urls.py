"""The URL of an ACME directory: nothing but https, host, port and path (RFC 3986).

certbot keeps accounts in folders that are named after it, and it stands in messages and in argument
lists: so a part that could lead out of a folder, hide where it leads to, or hold a secret is
refused.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import unquote

from sslmd.config.values import is_host, label, seen, wrong

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<at>[^/?#@]*@)?"
    r"(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?"
    # RFC 3986 §3.3: pchar, and "/" between segments
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)"
    r"(?P<more>[?#].*)?"
)
_RIGHT = "write https://host/path"


def directory_url(value: Any) -> str:
    """Check the URL of an ACME directory; "" stands for none."""
    url = label(value)
    if not url:
        return url
    found = _URL.fullmatch(url)
    host = (found["ip6"] or found["host"]) if found else ""
    if found is None or not is_host(host) or not 1 <= int(found["port"] or 443) <= 65535:
        raise wrong(f"{seen(url)} is not a URL", _RIGHT)
    if found["at"]:
        raise wrong(
            "it has a user or a password in it",  # which no message repeats
            f"{_RIGHT}; an account that exists already is bound by ca_eab_kid",
        )
    if found["more"]:
        raise wrong(f"{seen(url)} has a query or a fragment", _RIGHT)
    path = unquote(found["path"], errors="replace")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise wrong(f"{seen(url)} has '.' or '..' in its path", "write the path without them")
    if "\\" in path or not path.isprintable():
        raise wrong(f"{seen(url)} has characters in its path that no file name has", _RIGHT)
    if found["scheme"] == "http" and not _is_loopback(host):
        raise wrong(
            f"{seen(url)} is not encrypted: nobody would know who answers",
            "write https://; http:// is only for a server on this machine (127.0.0.1, localhost)",
        )
    return url


def _is_loopback(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
