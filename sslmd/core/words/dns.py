"""Words for `Failed`: what name servers and resolvers do not tell, and what is not published."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.failed import Failed

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

_WATCH = (
    "correct server in [[[[dns_primary]]]], or name the servers to watch with nameservers there"
)


def _no_addresses(facts: Facts) -> str:
    hosts = "{hosts}" if facts.get("hosts") else "(none)"
    return f"its name servers {hosts} have no address" + (
        "[: {cut}]; correct the zone, or name the servers to watch with nameservers in "
        "[[[[dns_primary]]]]"
    )


def _nobody_tells(facts: Facts) -> str:
    said = "{said:lines}" if facts.get("said") else "it has none"
    return f"no name server tells of {{name}} {{type}}: {said}"


DNS: Mapping[Failed, str | Callable[[Facts], str]] = {
    Failed.NO_ADDRESSES: _no_addresses,
    Failed.NO_ADDRESS: (
        "the name server {host} has no address; correct nameservers in its [[[[dns_primary]]]]"
    ),
    Failed.PRIMARY_SILENT: f"its primary {{said}}; {_WATCH}",
    Failed.PRIMARY_NO_NS: (
        "its primary {server} answers {rcode} and does not say with authority which its name "
        f"servers are; {_WATCH}"
    ),
    Failed.CNAMES_LONG: "the CNAMEs of {owner} lead on and on; correct them in zone {zone}",
    Failed.CNAME_NO_HOST: "the CNAME of {owner} leads to no host: {said}; correct it",
    Failed.NOBODY_TELLS: _nobody_tells,
    Failed.CAA_UNKNOWN: "no name server tells the CAA records of {name}: {said:lines}",
    Failed.CAA_CNAMES_LONG: (
        "the CNAMEs of {owner} lead on and on, and no CA can look up its CAA records; correct them "
        "in zone {zone}"
    ),
    Failed.NO_WAY_TO_PUBLISH: (
        "there is no way to publish challenges; write acme_dir in [[dns]], or update = true in its "
        "[[[[dns_primary]]]]"
    ),
    Failed.NO_ACME_DIR: (
        "acme_dir {folder} is not there; make that directory, which the name server reads, or "
        "correct acme_dir in [[dns]]"
    ),
    Failed.PRIMARY_NO_ADDRESS: (
        "the primary {host} has no address; correct server in [[[[dns_primary]]]]"
    ),
    Failed.UPDATE_UNANSWERED: "the primary {said}, to the update",
    Failed.UPDATE_NONSENSE: "the primary {server} answers nonsense: {said}",
    Failed.UPDATE_UNSIGNED: "the primary {server} does not sign its answer to the update",
    Failed.UPDATE_CLOCKS: (
        "the clock of the primary {server} differs from ours by more than it allows for signed "
        "updates (BADTIME); set them right"
    ),
    Failed.UPDATE_KEY: (
        "the primary {server} does not accept the TSIG key ({said}); compare tsig_key_file with "
        "its key statement"
    ),
    Failed.UPDATE_FAILED: "the primary {server} answers {rcode} to the update; see its log",
    Failed.KEY_MISSING: "{file} is not there; correct tsig_key_file in [[[[dns_primary]]]]",
    Failed.KEY_BAD_NAME: "{file}: {name} cannot name a key",
    Failed.KEY_NOT_BASE64: "{file}: the secret of the key {name} is not base64",
    Failed.KEY_ALGORITHM: "{file}: {name} is no algorithm for a TSIG key; use hmac-sha256",
    Failed.KEY_NONE: (
        "{file} holds no TSIG key; write a key statement as tsig-keygen does, or the bare secret, "
        "and tsig_name beside tsig_key_file"
    ),
    Failed.KEY_OTHERS: "{file} has no key {name}; it has {names}",
    Failed.KEY_EMPTY: "{file}: the key {name} has no secret",
}
