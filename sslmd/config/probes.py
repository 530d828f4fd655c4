"""The ports that show a class's certificates where its table names none."""

from __future__ import annotations

from sslmd.config.model import Probe, ProbeWord, ServerClass, ServerKind

# One counts from the moment it first served a certificate of ours.
DEFAULT_PROBES = {
    ServerKind.SMTP: (Probe(25, ProbeWord.SMTP, optional=True),),
    ServerKind.IMAP: (Probe(993, ProbeWord.TLS, optional=True),),
    ServerKind.WEB: (Probe(443, ProbeWord.TLS, optional=True),),
    ServerKind.OTHER: (),
}


def worth_a_look(server_class: ServerClass) -> tuple[Probe, ...]:
    """Return the ports to look at when somebody wants to know what is served.

    Those that are named, else the default ones: also where `probe` says that nothing is proven.
    """
    return server_class.probes or DEFAULT_PROBES[server_class.kind]
