"""Hosts, name servers and URLs in the files' values.

The URL of an ACME directory is nothing but https, host, port and path (RFC 3986): certbot keeps
accounts in folders that are named after it, and it stands in messages and in argument lists. So a
part that could lead out of a folder, hide where it leads to, or hold a secret is refused.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import unquote

from sslmd.config.kinds import Endpoint, PostCopy
from sslmd.config.values import command, label, seen, text, wrong
from sslmd.core.names import san_or_none, shown

_SERVER = re.compile(r"(?:[A-Za-z_][A-Za-z0-9._-]*@)?([A-Za-z0-9_:.-]+)")
_PORTED = re.compile(
    r"(?:[A-Za-z_][A-Za-z0-9._-]*@)?(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::[0-9]*)?"
)
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<at>[^/?#@]*@)?"
    r"(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?"
    # RFC 3986 §3.3: pchar, and "/" between segments
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)"
    r"(?P<more>[?#].*)?"
)
_RIGHT = "write https://host/path"


def endpoint(value: Any) -> Endpoint:
    """Parse `host`, `ip`, `host:port`, `ip:port`, `[ip6]` or `[ip6]:port`; the port is 53."""
    whole = text(value).strip()
    found = re.fullmatch(r"\[([^\[\]]*)\](?::([0-9]{1,5}))?", whole)
    if not found and whole.count(":") <= 1:
        found = re.fullmatch(r"([^:]*)(?::([0-9]{1,5}))?", whole)
    host, port = (found[1], found[2]) if found else (whole, None)
    if not is_host(host) or (port is not None and not 1 <= int(port) <= 65535):
        raise wrong(
            f"{shown(whole)} is not the address of a name server",
            "write it as 'host', 'ip', 'ip:port' or '[ip6]:port'",
        )
    return Endpoint(host, int(port) if port else 53)


def resolver(value: Any) -> Endpoint:
    """Parse an `endpoint` that is an IP address."""
    found = endpoint(value)
    if _address(found.host) is None:
        raise wrong(f"{seen(value)} is not an IP address", "write it as 'ip' or 'ip:port'")
    return found


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_host(host: str) -> bool:
    """Whether a text is a host name, without stars, or an IP address."""
    if _address(host) is not None:
        return True
    found = san_or_none(host)
    return found is not None and not isinstance(found, IPv4Address) and "*" not in host


def server(value: Any) -> str:
    """Check a server's host name or address; `user@` may stand before it."""
    whole = text(value).strip()
    found = _SERVER.fullmatch(whole)
    # It ends up on the command line of ssh and rsync: nothing may look like an option.
    if not found or not is_host(found[1]):
        ported = _PORTED.fullmatch(whole.removeprefix("ssh://").rstrip("/"))
        if ported is not None and is_host(ported[1] or ported[2]):
            raise wrong(
                f"{shown(whole)} has a port: servers are reached by ssh",
                "write the host alone; its port goes into the ssh configuration of the daemon's "
                "user, as 'Port' below 'Host'; a port that serves certificates goes into probe",
            )
        raise wrong(f"{shown(whole)} is not a host", "write a host name or an IP address")
    return whole


def post_copy(value: Any) -> PostCopy:
    """Parse one `[server-host, command]`."""
    if not isinstance(value, list) or len(value) != 2:
        raise wrong(f"{seen(value)} is not a pair", "write ['server-host', 'command']")
    argv = command(value[1], "a pair for each command")
    if not argv:
        raise wrong("the command is empty", "write ['server-host', 'command']")
    return PostCopy(server(value[0]), argv)


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
    address = _address(host)
    here = address.is_loopback if address else host.lower().rstrip(".") == "localhost"
    if found["scheme"] == "http" and not here:
        raise wrong(
            f"{seen(url)} is not encrypted: nobody would know who answers",
            "write https://; http:// is only for a server on this machine (127.0.0.1, localhost)",
        )
    return url
