"""Words for `InDns`: our records in DNS, where they belong, and what ports serve by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.seen import InDns

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

_SOME = "{owners}[ and {more} more]"


def _added(facts: Facts) -> str:
    if "add" in facts:
        return "{add}"
    return "a TLSA record of set {set}" if "set" in facts else "a TLSA record of its key"


def _none_there(facts: Facts) -> str:
    return "{place}; there are no TLSA records there; add " + _added(facts)


def _there_wrong(facts: Facts) -> str:
    return "{place}; no TLSA record there is of the key in use; add " + _added(facts)


def _there_well(facts: Facts) -> str:
    text = "{place}; the TLSA records there are of the key in use"
    if "add" in facts or "set" in facts:
        return f"{text}; the roll waits for that of the next key, add {_added(facts)}"
    return text


def _shows(facts: Facts) -> str:
    what = "record" if facts["number"] == 1 else "{number} records"
    return f"shows the {what} of the keys in use"


def _counted(facts: Facts) -> str:
    return {0: "no TLSA records", 1: "1 TLSA record"}.get(facts["number"], "{number} TLSA records")


def _given(facts: Facts) -> str:
    how = "sent to its primary" if "updated" in facts else "written"
    return f"{_counted(facts)} {how}: {{why}}"


def _challenges(facts: Facts) -> str:
    several = {0: "no challenge records", 1: "1 challenge record"}
    return several.get(facts["number"], "{number} challenge records")


def _challenges_given(facts: Facts) -> str:
    how = "sent to its primary" if "updated" in facts else "written"
    return f"{_challenges(facts)} {how}"


def _challenges_again(facts: Facts) -> str:
    return _challenges(facts) + " served again"


def _given_again(facts: Facts) -> str:
    return _counted(facts) + " given to DNS again"


def _give_yourself(facts: Facts) -> str:
    return _counted(facts) + " for you to put into the zone, see sslmctl dane {zone}"


DANE: Mapping[InDns, str | Callable[[Facts], str]] = {
    # --- one name server: what stands after its name
    InDns.NOT_SHOWN: "does not show {records}[ and {more} more]",
    InDns.STILL_SHOWN: "still shows {owner} TLSA records that were withdrawn",
    InDns.NO_SIGNATURES: (
        "serves {owner} TLSA without signatures, in a zone that was signed; correct its DNSSEC"
    ),
    InDns.SIGNATURES_OVER: (
        "serves signatures of {owner} TLSA that expired on {until}; correct its DNSSEC"
    ),
    InDns.STRONGER: (
        "serves {owner} TLSA {record}, a stronger digest than the set on deck has there"
    ),
    InDns.WAS_NOT_ASKED: "was not asked",
    # --- all of them
    InDns.NOT_AT_ALL: "{servers:lines}",
    InDns.NO_NAME_SERVER: "there is no name server to ask",
    InDns.LOOKED_UP_NOW: "its name servers are being asked what they show",
    InDns.TOLD_NOW: "its name servers are being given its records",
    # --- records that others keep
    InDns.UNSEEN_THERE: "cannot be looked at: {why}",
    InDns.NOT_THERE: "has no record of the set on deck; add TLSA[ {record}] there",
    InDns.NOT_YET: "is not looked at yet",
    # --- where the records of an owner belong
    InDns.NOT_WRITTEN: "{owner}: no record is written: {why}",
    InDns.WOULD_LOSE: (
        "{host} has its records from {wildcard} alone, and would lose them (RFC 4592); give {host} "
        "address records of its own in zone {zone}"
    ),
    InDns.ALIAS_HERE: "{owner} is a CNAME: its records are written at {target}",
    InDns.ALIAS_AWAY: (
        "{owner} is a CNAME to {target}, which is not in zone {zone}: no record is written, and "
        "clients look there"
    ),
    InDns.BELOW_CUT: (
        "{owner}[, a CNAME to {target},] is in zone {child}, which is a zone of its own below "
        "{zone}: no record is written; list {child} in [[[[groups]]]], with a service that has "
        "dane_tls for it, or write its TLSA records there"
    ),
    InDns.END_FIRST: "its host is a CNAME, so clients look at {first} first (RFC 7671 §7)",
    # --- why records of a set on deck are not published
    InDns.NOT_MADE_IN_USE: (
        "{owner} {numbers} cannot be made of a certificate in use (its chain has no issuer); "
        "correct dane_tls"
    ),
    InDns.NOT_MADE_ON_DECK: (
        "{owner} {numbers} cannot be made of the set on deck (it has no certificate yet, or its "
        "chain has no issuer); correct dane_tls, or: sslmctl force-renew"
    ),
    InDns.KEYS_OF_OTHERS: (
        "{owner} has TLSA records, none of them is {numbers}, and they are not of a key of ours: "
        "clients might refuse what the port serves now; write the numbers that they have into "
        "dane_tls, or remove them"
    ),
    InDns.NEW_THERE: "{owner} {numbers} is new there, and published for the key in use first",
    # --- what a zone gets
    InDns.RECORDS_CHANGE: f"the TLSA records of {_SOME} change",
    InDns.TTL_CHANGES: f"the TLSA records of {_SOME} get another TTL",
    InDns.OTHER_MEANS: (
        "TLSA records were published by [{before}|nobody], and now are by [{now}|nobody]"
    ),
    InDns.UNSURE: "its name servers may not have got what they were given last",
    InDns.NO_FOLDER: "the directory {folder} is not there",
    InDns.NO_FILE: "{path} is not there",
    InDns.FILE_CHANGED: "{path} was changed by others",
    InDns.GIVEN: _given,
    InDns.GIVEN_AGAIN: _given_again,
    InDns.GIVE_YOURSELF: _give_yourself,
    InDns.STAY: f"old TLSA records may still be in DNS, remove them there: {_SOME}",
    InDns.PORT_SERVES_OTHER: (
        "{host}:{port} ({address}) serves {serves}: with TLSA records for {cert}, clients that "
        "check DANE would refuse it; have it read the production tree first"
    ),
    InDns.NOT_PUBLISHED: "not published: {why}",
    InDns.MX_OUTSIDE: (
        "its MX host {host} is in another zone: its TLSA records have to be published there"
    ),
    InDns.MX_STAY: "its MX hosts are taken as they were known before: {why}",
    InDns.NULL_MX_ENTRIES: (
        "it takes no mail (null MX, RFC 7505), so it gets no TLSA records for MX hosts; remove the "
        "entries with 'MX' from dane_tls"
    ),
    InDns.ZONE_UNSIGNED: (
        "zone {zone} is not signed, so nobody heeds its TLSA records (RFC 7672 §2.1): DANE needs "
        "DNSSEC; sign the zone (BIND: dnssec-policy) and have its DS put into the zone above, or "
        "remove dane_tls"
    ),
    InDns.CHALLENGES_GIVEN: _challenges_given,
    InDns.CHALLENGES_AGAIN: _challenges_again,
    InDns.CHALLENGES_BACK: "its challenge records were taken back",
    InDns.NO_CHALLENGES: "no challenges, as it should be",
    InDns.OLD_CHALLENGES: "{why}; old challenge records are taken back at {at:hour}",
    InDns.CHALLENGES_STAY: "old challenges stay in DNS, remove them there: {owners}",
    InDns.CACHES_EMPTY: "no cache holds the withdrawn TLSA records any more",
    InDns.TRIED_AGAIN: "{why}; its TLSA records are tried again in {wait}",
    InDns.JOB_BROKE: "{job}: {why}",
    # --- the daily comparison of DNS, ports and keys
    InDns.UNSEEN: "not seen: {why}",
    InDns.NOT_ASKED: "not asked: it {why}",
    InDns.LATE: (
        "set {set} waits for its TLSA records since {since}: [{why}|they are not published]"
    ),
    InDns.NOT_OURS: "serves {owner} TLSA {record}, which is not ours; remove it there",
    InDns.SHOWS: _shows,
    InDns.SHOWS_NOTHING: "nothing to show",
    InDns.NONE_THERE: _none_there,
    InDns.NONE_AT_END: "{place}; there are no TLSA records there, so those here count",
    InDns.ENDS_UNSEEN: (
        "not seen: whether hosts are CNAMEs, so that records at their ends come first: {why}"
    ),
    InDns.NONE_IN_DNS: "none of its TLSA records is in DNS, so nobody checks its ports",
    InDns.THERE_UNSEEN: "{place}; [not seen: {why}|they are not looked at yet]",
    InDns.THERE_WRONG: _there_wrong,
    InDns.THERE_WELL: _there_well,
    InDns.HOST_OUTSIDE: "is not in zone {zone}: its TLSA records belong into its own zone",
    InDns.NULL_MX: "zone {zone} takes no mail (null MX, RFC 7505): no TLSA record for MX hosts",
    # --- what a port serves, by what DNS shows
    InDns.SET: "set {set}[, not {other}]",
    InDns.PORT_NO_ADDRESS: "has no address, so nobody connects to it",
    InDns.PORT_SPARE: "is no MX host, so no mail is sent to it ({why})",
    InDns.PORT_NO_RECORDS: "serves {what}; there are no TLSA records",
    InDns.PORT_WELL: "serves {what}, as its TLSA records say",
    InDns.PORT_WRONG: (
        "serves {what}, which none of its TLSA records matches: clients that check DANE refuse it; "
        "have it read the production tree and restart it, or correct dane_tls"
    ),
}
