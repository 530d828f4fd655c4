"""Asking name servers in this process, for tests: at once, and in virtual time."""

from __future__ import annotations

from sslmd.dns.ask import DnsAsker
from sslmd.net.inside import Inside

ASKER = DnsAsker(Inside())
