"""Words for `AtPort`: what a look at a port, or at a web server, met."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.seen import AtPort

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOT_BELOW = "or not at all below /.well-known/acme-challenge/"
_UNLOOKED = "could not be looked at: the network process"
_OTHER = "shows something else: {number} bytes[{long:if} or more]"

AT_PORT: Mapping[AtPort, str | Callable[[Mapping[str, Any]], str]] = {
    AtPort.AT: "{address} port {port} {what}",
    AtPort.SEVERAL: "{seen:lines}[; and {more} more]",
    AtPort.OF_ADDRESS: "{address}[ (redirected to {led})] {what}",
    AtPort.SERVES: "serves {certificate}",
    AtPort.CERTIFICATE: "serial {serial} for {names}, valid until {until}",
    AtPort.DAMAGED: "a damaged certificate",
    AtPort.NOT_COUNTED: "port {port} of {host} serves {serves}: not counted",
    AtPort.OF_CERT: "{cert}: {certificate}",
    AtPort.OF_ITS_KEY: "another certificate for its key: {certificate}",
    # --- why nobody saw a server using what it got
    AtPort.UNLOOKED: "not looked at yet",
    AtPort.OF_NAME_SERVER: "not looked at: name servers show no certificate",
    AtPort.ONLY_DEPENDS: "not looked at: the class only depends on it",
    AtPort.OF_CA: "not looked at: the certificate of a CA is no server's own",
    AtPort.PROBE_NONE: "not looked at: probe = 'none'",
    AtPort.PROBE_FALSE: "not looked at: probe = false",
    AtPort.NO_PROBE: "not looked at: name its ports in probe, or write probe = 'none'",
    AtPort.NO_PROBE_FOR_IT: "not looked at: no probe is for a name of it",
    # --- nobody looked, or nobody answered
    AtPort.NET_GONE: f"{_UNLOOKED} ended, or met a fault, before it had an answer",
    AtPort.NET_SILENT: f"{_UNLOOKED} does not answer",
    AtPort.NO_TIME: "was not looked at, others took all the time",
    AtPort.NO_ADDRESS: "has no address",
    AtPort.NOT_CONNECTED: "cannot be connected to: {said}",
    AtPort.CONNECTS_LATE: "does not take a connection within {number} s",
    AtPort.ANSWERS_LATE: "does not answer within {number} s",
    AtPort.BREAKS_OFF: "breaks off: {said}",
    # --- before TLS
    AtPort.HANDSHAKE_LATE: "does not come to a handshake within {number} s",
    AtPort.GREETS: "greets with {said}",
    AtPort.GREETS_ODDLY: "greets with {said}, which is no protocol known here",
    AtPort.ANSWERS_EHLO: "answers EHLO with {said}",
    AtPort.NO_STARTTLS: "offers no STARTTLS",
    AtPort.REFUSES_STARTTLS: "refuses STARTTLS: {said}",
    AtPort.ANSWERS_STARTTLS: "answers STARTTLS with {said}",
    AtPort.REFUSES_STLS: "refuses STLS: {said}",
    AtPort.ENDLESS_REPLY: "sends a reply that does not end",
    AtPort.LONG_LINE: "sends a line of more than {number} bytes",
    AtPort.CLOSES: "closes the connection [after {said}|without a word]",
    # --- TLS
    AtPort.NO_NAME: "cannot be asked for {said}, which is no name",
    AtPort.WANTS_CLIENT: "wants a certificate of the client",
    AtPort.NO_TLS: "has no TLS for us: {said}",
    AtPort.HANDSHAKE_BROKEN: "breaks the handshake off: {said}",
    AtPort.HANDSHAKE_CLOSED: "closes the connection in the handshake",
    AtPort.HANDSHAKE_LONG: "sends more than {number} KiB, and the handshake does not end",
    AtPort.SHOWS_NONE: "shows no certificate",
    AtPort.DH_LONG: (
        "has a Diffie-Hellman group of {number} bits, which is too long to calculate with; give it "
        "one of 4096 at most"
    ),
    # --- a web server, asked for a challenge
    AtPort.SHOWS_KEY: f"{_OTHER} with the key authorization '{{said}}'",
    AtPort.SHOWS_OTHER: f"{_OTHER} that are no key authorization",
    AtPort.STATUS: "answers {number}",
    AtPort.SEE_OTHER: "answers 303, which CAs do not follow; redirect with 301 or 302",
    AtPort.ANSWER_CUT: "closes the connection before its answer is whole",
    AtPort.NO_HTTP: "does not answer in HTTP",
    AtPort.WEB_NO_TLS: "does not speak TLS: {said}",
    # --- where it redirects to
    AtPort.REDIRECTS_ON: "redirects more than {number} times",
    AtPort.REDIRECT_ODD: "redirects to what is no URL",
    AtPort.REDIRECT_LONG: "leads to a URL of more than {number} KiB",
    AtPort.REDIRECT_PORT: (
        "leads to port {number}, and CAs follow redirects to 80 and 443 only; redirect there, "
        f"{_NOT_BELOW}"
    ),
    AtPort.REDIRECT_ADDRESS: (
        "leads to an IP address, and CAs follow redirects to names only; redirect to the name, "
        f"{_NOT_BELOW}"
    ),
    AtPort.REDIRECT_NOWHERE: "leads where no CA follows",
    AtPort.REDIRECT_PRIVATE: (
        "leads into a private network, where no public CA can follow; redirect to a name that has "
        f"public addresses, {_NOT_BELOW}"
    ),
    AtPort.REDIRECT_UNRESOLVED: "leads to a name that cannot be resolved",
}
