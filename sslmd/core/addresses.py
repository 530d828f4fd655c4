"""What an IP address is good for: where on the internet it may be, by IANA's registries."""

from __future__ import annotations

import ipaddress

from sslmd.core.failed import Failed
from sslmd.core.reason import Reason

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def meant(text: str) -> Address | None:
    """Return the address that a text stands for, None if it is none.

    IPv4 is taken out of IPv6: mapped (RFC 4291 §2.5.5.2), 6to4 (RFC 3056), NAT64 (RFC 6052).
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inside = address.ipv4_mapped or address.sixtofour
    if inside is None and address in _NAT64:
        inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inside or address


def is_public(text: str) -> bool:
    """Whether anybody on the internet may be at an address."""
    address = meant(text)
    return address is not None and address.is_global and not address.is_multicast


def no_host(text: str) -> Reason | None:
    """Return why an address is no other machine's, wherever one is; None if it may be."""
    address = meant(text)
    if address is None:
        return Reason(Failed.ADDRESS_NONE)
    if address.is_loopback or address.is_unspecified:
        return Reason(Failed.ADDRESS_OWN)
    future = address.version == 4 and address.is_reserved
    if address.is_link_local or address.is_multicast or future:
        return Reason(Failed.ADDRESS_SHARED)
    return None
