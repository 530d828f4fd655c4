"""Words for `Failed`: what name servers and resolvers do not tell, and what is not published."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.failed import Failed

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

_SMTP = 25
_MUST_NOT = "{name} must not be issued: the CAA records of {domain}"
_WATCH = (
    "correct server in [[[[dns_primary]]]], or name the servers to watch with nameservers there"
)


def _primary_without(facts: Facts) -> str:
    serial = "serial {serial} " if "serial" in facts else ""
    text = f"the primary {{server}} [{{unchanged:if}}still ]serves {serial}without {{owner}} TXT"
    if "waited" not in facts:
        return text
    text = f"but {text} after {{waited:span}}"
    if facts["published"] == "update":
        view = "see its log, and whether it answers us with another view of the zone"
        return f"the update was accepted, {text}; {view}"
    text = f"the command succeeded, {text}"
    if "unchanged" in facts:
        return f"{text}: the reload was not taken; see its log, run named-checkzone"
    return (
        f"{text}; [{{was_known:if}}|see its log, run named-checkzone, ]see whether its zone file "
        "has an $INCLUDE of acme-challenge.{zone}"
    )


def _servers_lack(facts: Facts) -> str:
    if "fault" in facts:
        return "{servers:some} {fault}[, tried for {waited:span}]"
    does = "does" if len(facts["servers"]) == 1 else "do"
    after = " after {waited:span}" if "waited" in facts else ""
    text = f"{{servers:some}} {does} not show {{owners:two}} TXT{after}"
    if "serial" not in facts:
        return text
    return text + (
        ", its serial {serial} is behind the primary's {primary}"
        if "behind" in facts
        else ", although its serial is {serial} and the primary's {primary}"
    )


def _tlsa_bogus(facts: Facts) -> str:
    """Say what clients do (RFC 7672 §2.1.1, RFC 7671 §4)."""
    harm = "do not connect"
    if "host" in facts:
        is_mail = facts["port"] == _SMTP
        harm = "defer all mail to {host}" if is_mail else "do not connect to port {port} of {host}"
    return (
        "{name}: its TLSA records do not validate at {resolver}[ ({why})], and clients of DANE "
        f"{harm}; {{look}}"
    )


def _servers_say(facts: Facts) -> str:
    return f"{{servers:some}} say{'s' * (len(facts['servers']) == 1)} that {{what}}"


DNS: Mapping[Failed, str | Callable[[Facts], str]] = {
    Failed.NAME_SERVER: "{server} {why}",
    Failed.NS_NO_ADDRESS: "has no address to ask",
    Failed.NS_SILENT: "did not answer [{tcp:if}by TCP ]within {seconds} s",
    Failed.NS_NOISE: "sent nothing within {seconds} s that answers the question",
    Failed.NS_CLOSED: "closed the TCP connection without an answer",
    Failed.NS_NOT_ASKED: "cannot be asked[{tcp:if} by TCP]: {said}",
    Failed.NS_UNASKED: "cannot be asked: {why}",
    Failed.NS_OUT_OF_REACH: "is out of reach from here by {family}: {said}",
    Failed.NS_NONSENSE: "answers nonsense[{tcp:if} by TCP]",
    Failed.NS_TOO_MANY: (
        "sends an answer of {records} records, and no more than {most} are read; look at what it "
        "serves"
    ),
    Failed.NS_TOO_LONG: (
        "sends an answer whose names take too long to read; look at what it serves"
    ),
    Failed.NS_ANSWERS: "answers {rcode}[ for {owner} {type}]",
    Failed.NS_NOT_AUTHORITATIVE: "is not authoritative[ for {owner}]",
    Failed.NS_AGAIN: "{why}, again and again",
    Failed.NS_TCP_ALONE: "answers by TCP alone, and CAs ask by UDP; open port 53 for UDP",
    Failed.NS_NOT_BY_UDP: "did not answer by UDP",
    Failed.NS_CNAME: "has a CNAME at {owner} that leads to {target}",
    Failed.NS_NO_SOA: "has no SOA record",
    Failed.NOT_WATCHED: "{cut}; name those to watch with nameservers in [[[[dns_primary]]]]",
    Failed.CUT: "{what:lines}",
    Failed.CUT_SERVERS: "of its {number} name servers the first {most} by name are asked",
    Failed.CUT_ADDRESSES: "of the {number} addresses of {host} the first {most} are asked",
    Failed.CUT_ADDRESS: "{address} is not asked, it {why}",
    Failed.ADDRESS_NONE: "is no address",
    Failed.ADDRESS_OWN: "is this machine's own",
    Failed.ADDRESS_SHARED: "is the address of no single host in the world",
    Failed.ADDRESS_PRIVATE: "is private",
    Failed.QUEUED: (
        "questions to name servers wait for each other, up to {longest:span} in the last {lately}: "
        "at most {most} are under way at a time, {doubtful} of them at servers that answer late or "
        "not at all"
    ),
    Failed.NOT_LOOKED_UP: (
        "{name} {type} cannot be looked up: [{said:lines}|there is no resolver to ask]"
    ),
    Failed.RESOLVERS_UNREAD: "cannot read {file}: {said}; write it",
    Failed.RESOLVERS_NONE: "{file} names no resolver; write a nameserver line there",
    Failed.NO_ADDRESSES: (
        "its name servers [{hosts}|(none)] have no address[: {cut}]; correct the zone, or name the "
        "servers to watch with nameservers in [[[[dns_primary]]]]"
    ),
    Failed.NO_ADDRESS: (
        "the name server {host} has no address; correct nameservers in its [[[[dns_primary]]]]"
    ),
    Failed.PRIMARY_SILENT: f"its primary {{said}}; {_WATCH}",
    Failed.PRIMARY_NO_NS: (
        "its primary {server} answers {rcode} and does not say with authority which its name "
        f"servers are; {_WATCH}"
    ),
    Failed.CNAMES_LONG: (
        "the CNAMEs of {owner} lead on and on[: {names:steps}]; shorten them[ in zone {zone}]"
    ),
    Failed.CNAMES_CIRCLE: (
        "the CNAMEs of {owner} lead in a circle: {names:steps}; correct them[ in zone {zone}]"
    ),
    Failed.CNAME_NO_HOST: "the CNAME of {owner} leads to no host: {said}; correct it",
    Failed.NOBODY_TELLS: "no name server answers for {name}[ {type}]: [{said:lines}|it has none]",
    Failed.OWNER_IS: "it is in zone {zone}[ and a CNAME to {target}][ through {by}]",
    Failed.SERVERS_SAY: _servers_say,
    Failed.CONTRADICTORY: (
        "its name servers contradict each other about {owner}: {said:lines}; wait for the transfer "
        "to those that are behind, or make the zone the same on all servers"
    ),
    Failed.OWNER_NOWHERE: (
        "{owner}[, where its CNAME leads ({at}),] is in no zone of ours ({zones}): its challenge "
        "cannot be published; add its zone as a group or [[[[dns_primary]]]], or a CNAME from "
        "{owner} to a zone of ours"
    ),
    Failed.OWNER_BELOW: (
        "{owner} is in zone {child}, which zone {zone} delegates: what is written in {zone} is not "
        "served; list {child} as a group or in [[[[dns_primary]]]], or let a CNAME lead to a zone "
        "of ours"
    ),
    Failed.OWNER_ABOVE: (
        "{owner} is in zone {parent}: {zone} is no zone of its own and takes no updates; list "
        "{parent} in [[[[dns_primary]]]]"
    ),
    Failed.ALIAS_UNSURE: "{owner} leads to {target}, but {why}",
    Failed.ALIAS_UNKNOWN: (
        "{owner} leads to {target} by the resolver, but the name servers of {zone} know of no "
        "CNAME there; wait until it has reached them, or correct the resolver"
    ),
    Failed.NOT_EVERYWHERE: "{servers:lines}[ and {more} more][; {remedies:lines}]",
    Failed.BY_TURNS: (
        "its name servers show the challenges by turns, never all at one time; see which one keeps "
        "being started or loaded with older data"
    ),
    Failed.PRIMARY_WITHOUT: _primary_without,
    Failed.SERVERS_LACK: _servers_lack,
    Failed.FIX_RESOLVER: (
        "if a resolver cannot be asked from here or keeps old answers, correct dns_xtra_ns"
    ),
    Failed.FIX_NAME_SERVER: (
        "let it serve the zone and answer us, or take it out of the zone's NS records (or of "
        "nameservers in [[[[dns_primary]]]])"
    ),
    Failed.FIX_SERIAL: (
        "the primary shows it with the serial it had before, {serial}, so that nobody fetches the "
        "zone: let restart_cmd of [[dns]] raise the serial"
    ),
    Failed.FIX_TRANSFER: "check its transfer from the primary",
    Failed.BOGUS: (
        "zone {name}: its DNSSEC does not validate at {resolver}[ ({why})], and no CA accepts "
        "that; {look}"
    ),
    Failed.TLSA_BOGUS: _tlsa_bogus,
    Failed.EXTENDED_ERROR: "{error}[: {said}]",
    Failed.LOOK_WITH_DELV: (
        "look for signatures that have expired and for a DS that fits no key: "
        "delv @{address}[ -p {port}] {name} {type}"
    ),
    Failed.NAME_VALIDATING: "if others see it right, name one as dns_validating_resolver",
    Failed.NOT_VALIDATED_HERE: (
        "whether its DNSSEC holds is not known, the resolver {why}; correct dns_validating_resolver"
    ),
    Failed.VALIDATING_ANSWERS: (
        "the resolver {why}; see whether the zone's name servers answer it, or correct "
        "dns_validating_resolver"
    ),
    Failed.CAA_CRITICAL: (
        f"{_MUST_NOT} demand {{tag}} (it is critical), which is not known here, and a CA that does "
        "not know it refuses; remove that record, or write it with flags 0"
    ),
    Failed.CAA_NOBODY: (
        f'{_MUST_NOT} allow nobody; add `{{domain}}. CAA 0 {{tag}} "…"` with the domain of your CA'
    ),
    Failed.CAA_CONDITIONS: (
        f"{_MUST_NOT} allow this CA {{why:or}}; "
        '[write `{domain}. CAA 0 {tag} "{ca}; accounturi={account}"`|change them]'
    ),
    Failed.CAA_TWICE: "never, because {tag} is there {number} times",
    Failed.CAA_METHOD: "only by {allowed}, not by {method}",
    Failed.CAA_ACCOUNT: (
        "only for the account {allowed}, [ours is {account}|and we have no account there yet]"
    ),
    Failed.CAA_OTHERS: (
        f"{_MUST_NOT} allow [{{allowed}}|nobody], not {{identities:or}}; add "
        '`{domain}. CAA 0 {tag} "{ca}"`, or take another CA'
    ),
    Failed.CAA_UNSEEN: (
        "the CAA records of {names:some} cannot be looked up: {why}; the order goes on, and the CA "
        "refuses it if they forbid it or if it gets no answer either"
    ),
    Failed.CAA_UNKNOWN: "no name server gives the CAA records of {name}: {said:lines}",
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
    Failed.NO_TLSA_DIR: (
        "the directory {folder} is not there; make it, for the name server to read, or correct "
        "tlsa_dirs in [[dns]]"
    ),
    Failed.NO_WAY_FOR_TLSA: (
        "there is no way to publish TLSA records: write tlsa_dirs in [[dns]], or update = "
        "true in its [[[[dns_primary]]]][; or put them into the zone yourself: sslmctl dane {zone}]"
    ),
    Failed.PUT_BACK: (
        "{why} (zone {zone}: without its new records the command succeeds, so its include files "
        "have what they held before; see whether one of these names has a CNAME there)"
    ),
    Failed.TLSA_NOT_TAKEN: (
        "no name server shows its new TLSA records, although restart_cmd succeeded; {paths} "
        "[{several:if}are as they were|is as it was] before; see in the name server's log whether "
        "it can load the zone with them (named-checkzone), and whether its serial was raised"
    ),
    Failed.RESOLVER_UNSIGNED: (
        "{resolver} shows {owner} TLSA as not signed, and the zone was signed before; see whether "
        "its DNSSEC works, and its DS in the zone above"
    ),
    Failed.RESOLVER_LACKS: (
        "the resolver {resolver} does not show {owner} TLSA {record}, which every name server has "
        "shown for two TTLs; see whether it keeps records for longer (cache-min-ttl), or flush it"
    ),
    Failed.PORTS_UNSEEN: (
        "its ports are not looked at, so TLSA records of older keys stay: [{why}|they will be soon]"
    ),
    Failed.OLDER_KEY_SERVED: (
        "an older key is still served by {places}: its TLSA records stay; see whether that server "
        "reads the production tree, and was restarted"
    ),
    Failed.NOBODY_SERVES: (
        "nobody was seen serving set {set} yet, so TLSA records of older keys stay ([{seen:lines}|"
        "its ports have no address]); name the servers that use it in a server class of "
        "ssl-mgr.conf, or have the port serve it"
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
