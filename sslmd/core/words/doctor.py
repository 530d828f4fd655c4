"""Words of what `sslmctl doctor` finds.

How bad a finding is, and under which heading it stands, is decided where it is made.
"""

from __future__ import annotations

from enum import StrEnum

_AS_DAEMON = "run this as the daemon's user, or root"
_NOT_PROBED = "probe = false, so the daemon does not look there"
_CHALLENGES = "/.well-known/acme-challenge/"


class Diagnosis(StrEnum):
    """What can be found; each with its words, and the way out where there is one."""

    ABOUT = "{what}: {why}"
    ABOUT_ZONE = "zone {zone}: {why}"
    # --- what was not looked at
    LATE = "{what} not looked at, after {seconds} s; run it again with a longer --limit"
    LATE_ITSELF = "not finished after {seconds} s"
    CLOSED = "this cannot be looked at: {why}; run it as root"
    FAILED = "this cannot be looked at: {why}"
    OTHER_USER = (
        "you are uid {ours}, and the daemon is uid {its}: what it may do, and whose files it "
        "takes, shows only when this is run as root"
    )
    # --- configuration
    CONF_UNKNOWN = "which configuration the daemon uses; {folder} is looked at, the default"
    CONF_OTHER = "the daemon uses {its}; {folder} is looked at, as you asked"
    CONF_CLOSED = f"{{path}} is not open to you; {_AS_DAEMON}"
    CONF_FAULTY = (
        "[{ours:if}the daemon works on with what it has loaded; a reload is refused, the next "
        "start fails][{other:if}a daemon with this configuration cannot be started] until that is "
        "corrected"
    )
    CONF_NONE = "nothing else is looked at: there is no configuration that says what there is"
    CONF_PARTLY = "parts with mistakes are not looked at"
    CONF_NOT_SAID = "the daemon does not say what it has loaded: it is too old"
    CONF_WELL = "{folder}: {services}, no mistakes"
    OTHER_CERTS_DIR = (
        "certs_dir is {folder}, and the daemon works in {its}: a reload is refused; restart it: "
        "systemctl restart sslmd"
    )
    NO_SERVICE_FILE = (
        "{path}: it is no service file any more: a reload is refused; correct it, or delete the "
        "file to give the certificate up"
    )
    OTHER_FILES = (
        "the daemon has loaded other files than are there now: {files}[, and {more} more]; run: "
        "sslmctl reload"
    )
    # --- the daemon
    DAEMON_ANSWERS = "it answers at {socket}: {certs}[; {fine:if}nothing is in trouble there]"
    OTHER_VERSION = (
        "it is version {version}, and this sslmctl {ours}; restart it: systemctl restart sslmd"
    )
    NO_GROUP = (
        "there is no group {group}, so only root may ask the daemon; run: systemd-sysusers "
        "sslmd.conf"
    )
    NOT_ENABLED = "it will not start at the next boot; run: systemctl enable sslmd"
    TROUBLE = "{cert}: {why}; see sslmctl show {arg}"
    NOT_SEEN = "{cert}: not seen: {what}"
    # --- this machine
    NO_FOLDER = "{folder} is not there; run: install -d -m 0755 {folder}"
    WIDE_KEY = (
        "{path} can be read by others than its owner; run: chmod 0600 {path}, and think of a new "
        "key (sslmctl force-renew)"
    )
    WIDE_KEYS_MORE = "and {keys} like it"
    RIGHTS_WELL = "{folders}, every key for its owner alone"
    NO_UNIT = "systemd knows no sslmd.service; is it started in another way?"
    UNIT_READS_OTHER = (
        "the daemon reads {read}, not {folder}; run: systemctl edit sslmd, and write there: "
        "[[Service]] Environment=SSL_MGR_TOPDIR={top}"
    )
    UNIT_CLOSES = (
        "the unit does not let the daemon write to {paths}; run: systemctl edit sslmd, and write "
        "there: [[Service]] ReadWritePaths={paths}"
    )
    UNIT_WELL = "it opens every folder that the configuration names"
    USER_WELL = "the daemon is no root, but uid {uid}"
    USER_ROOT = (
        "the daemon runs as root: whoever breaks into it can read every file, write to {writes} "
        "and have systemd do anything; sslmd init --user gives it a user of its own, who may do to "
        "units only what restart_cmd says"
    )
    CLOCK_BEHIND = (
        "files of the tree are dated {seconds} s in the future: the clock was set back, or is "
        "wrong; set it"
    )
    CLOCK_UNKNOWN = "nothing here says whether it is synchronized (timedatectl)"
    CLOCK_ALONE = "nothing synchronizes it; run: timedatectl set-ntp true, or install chrony"
    CLOCK_WELL = "it is synchronized"
    NO_PROGRAM = "{where}: there is no program {program}; correct it or install it"
    PROGRAMS_WELL = "{programs} to be run here, all there"
    CERTBOT_FAILS = "{certbot} does not run: {said}; install it again"
    CERTBOT_WELL = "{said}: {certbot}"
    CERTBOT_LED_AWAY = (
        "it reads {file}, whatever sslmd says to it, and {words} "
        "[{one:if}is][{several:if}are] named there; remove that, or see if it fits"
    )
    # --- sets
    SETS_WELL = "{what}: keys, chains, links and owners fit"
    BAD_LINK = (
        "{cert}: {remark}; let it lead to a set that is there, or remove it, and run: sslmctl "
        "reload"
    )
    NO_CERT_YET = "{cert}: there is no certificate yet; see sslmctl show {arg}"
    JUST_ROLLED = "{cert}: it was rolled after the daemon was asked; run sslmctl doctor again"
    OTHER_CURR = (
        "{cert}: its link curr leads to set {set}, and the daemon takes {known} for the one in "
        "use; run: sslmctl reload"
    )
    SET_CLOSED = f"{{cert}}: {{path}}: {{why}}; {_AS_DAEMON}"
    SET_BROKEN = (
        "{cert}: set {set} {place}: {problem}; put the right file back and run sslmctl reload; for "
        "another way: sslmctl {other} {arg}"
    )
    NO_WAY_BACK = "{cert}: set {set} {place}: {problem}; it cannot be rolled back to"
    SET_CUT_SHORT = (
        "{cert}: set {set} has a key and no certificate, and no link leads to it; it was cut "
        "short: run sslmctl clean {arg}, or remove it"
    )
    SET_EXPIRED = (
        "{cert}: set {set} {place} expired on {at}; see why it was not renewed: sslmctl show {arg}"
    )
    CHAIN_EXPIRED = (
        "{cert}: a CA in the chain of set {set} {place} expired on {at}; renew that CA, then run: "
        "sslmctl force-renew {arg}"
    )
    NO_CA_CERT = (
        "{cert}: the certificate of set {set} {place} is no CA's; nothing that it signs is valid"
    )
    OTHER_OWNER = (
        "{cert}: {paths} belong to {owner}, who therefore has power over this certificate; find "
        "out how that happened, then run: chown -R {us} {folder}"
    )
    PRODUCTION_DIFFERS = (
        "{cert}: {link} has other files or permissions than it should: servers read something "
        "else; run: sslmctl deliver {arg}"
    )
    PRODUCTION_OLD = (
        "{cert}: {link} is not set {set}, which is in use: servers read something else; run: "
        "sslmctl deliver {arg}"
    )
    # --- CAs and orders
    NO_PROFILE = "{ca}: it has no profile {asked} ({has}); correct ca_preferred_acme_profile"
    NO_EAB = "{ca}: it asks for an account at its own site; set ca_eab_kid and ca_eab_hmac_key_file"
    CA_ANSWERS = "{ca}: {server} answers"
    NO_ORDER = "{certs}: an order would not be made: {why}"
    CAA_UNSEEN = "whether CAA records allow {cas} to issue"
    ORDERS_WELL = "{certs}: names, zones and CAA are as an order needs"
    # --- names
    NAMES_DEAD = (
        "{certs}: {names} [{one:if}has][{several:if}have] no address, so no client uses that "
        "name; remove it from the certificate if it is no longer needed"
    )
    NAMES_WELL = "{names} with an address"
    # --- name servers
    NS_NO_ADDRESS = (
        "zone {zone}: its name server {host} has no address; correct the NS record, or give the "
        "name an address"
    )
    NO_NAME_SERVERS = "zone {zone}: there are no name servers; see its NS records"
    NS_UNKNOWN = "zone {zone}: {why}, so only nameservers of [[[[dns_primary]]]] is looked at"
    NS_NOT_WATCHED = (
        "zone {zone}: {servers} of its NS records is not in nameservers of [[[[dns_primary]]]]: a "
        "CA and clients may ask it, and nothing waits until it shows new records; add it there, or "
        "leave nameservers out"
    )
    NS_NO_ROUTE = (
        "zone {zone}: {server} {udp}; a CA may choose this address: look at it from elsewhere"
    )
    NS_SILENT = (
        "zone {zone}: {server} {udp}; a CA may choose this address: start it or open port 53 "
        "there,[{is_six:if} or take its AAAA record out][{is_four:if} or take it out of the NS "
        "records]"
    )
    NS_FAULT = (
        "zone {zone}: {server} {fault} for it; load the zone there, or correct the NS records"
    )
    NS_TCP_ALONE = "zone {zone}: {server} answers by TCP alone ({udp}); open UDP port 53 there"
    NS_UDP_ALONE = (
        "zone {zone}: {server} answers by UDP alone ({tcp}); open TCP port 53 there: answers that "
        "are too long for UDP need it (RFC 7766)"
    )
    SERIALS_DIFFER = (
        "zone {zone}: serials differ ({serials}); make sure that all of them get the transfers"
    )
    SERIALS_ALIKE = "zone {zone}: {servers}, all with serial {serial}"
    NO_ZONE = (
        "{zone} is no zone of its own: its name servers say that it is a part of {around}; make "
        "{around} the group, or let its zone file include what is written for {zone}, and "
        "restart_cmd load it"
    )
    # --- resolvers
    SIGNED = "zone {zone} is signed, and validates at {resolver}"
    UNSIGNED = "zone {zone} is not signed"
    TLSA_UNSIGNED = (
        "zone {zone} is not signed, as {resolver} sees it, and nobody looks at its TLSA records; "
        "sign it, and have the DS record put into the zone above"
    )
    NO_VALIDATING = (
        "no resolver here validates; install one (unbound), and name it: dns_validating_resolver = "
        "'127.0.0.1'"
    )
    EXTRA_WELL = "{resolvers} of dns_xtra_ns: each answers for every zone"
    EXTRA_UNKNOWN = "{host} of dns_xtra_ns: {why}"
    EXTRA_NO_ADDRESS = "{host} of dns_xtra_ns has no address; correct the name, or remove it"
    EXTRA_OUT_OF_REACH = "{why} (dns_xtra_ns)"
    EXTRA_SILENT = (
        "{why}: it is one of dns_xtra_ns, and a firewall may be in the way. Each order would wait "
        "for it for {limit} s (dns_check_timeout) and then fail; let port 53 out (UDP and TCP), or "
        "remove it from dns_xtra_ns"
    )
    EXTRA_NO_SUCH_ZONE = (
        "{server} of dns_xtra_ns does not know zone {zone}[ and {more} more] (it answers {rcode}), "
        "so no order goes on; see whether the zone is delegated, or write dns_xtra_ns = [[]] where "
        "only your own name servers know it"
    )
    # --- include files
    INCLUDE_MISSING = (
        "{path} is not there, and a zone that includes it cannot be loaded; run: sslmctl "
        "dns-refresh"
    )
    INCLUDES_UNKNOWN = "zone {zone}: {why}; its file should have: {lines}"
    NO_RNDC = "--rndc of restart_cmd cannot be split into words ({why})"
    NO_FILES = "nothing here says which files it is made of"
    ZONE_FILE_CLOSED = "its file {path} cannot be read: {why}"
    NOT_INCLUDED = 'zone {zone} does not have {path}; write into its file: $INCLUDE "{path}"'
    INCLUDES_WELL = "zone {zone} has what is written for it ({told})"
    TLSA_SHOWN = "zone {zone} has the TLSA records written for it ({server})"
    TLSA_NOT_SHOWN = (
        "zone {zone}: {server} does not show {owner} TLSA as it is written in {path}; have that "
        "file included, and run: sslmctl dns-refresh"
    )
    # --- http-01
    HTTP_NO_SERVER = "http-01 needs servers and server_dir in [[web]] of ssl-mgr.conf"
    HTTP_NO_FILE = (
        "whether challenges show: no file could be put there ([{why}][{late:if}the daemon took too "
        "long])"
    )
    HTTP_LEFT = "{problem}; it is removed when the daemon starts again"
    HTTP_NOT_PUT = "the daemon has put no file for it; run: sslmctl reload"
    HTTP_NO_ADDRESS = "no address, so the CA finds no web server; correct the zone"
    HTTP_WELL = "{names}: a file that was put there shows"
    HTTP_LED = (
        f"{{said}}; leave {_CHALLENGES} out of the redirect, or have the place where it leads show "
        f"{{folder}}{_CHALLENGES}. In nginx a return beside the location goes first: put it into "
        "location /"
    )
    HTTP_FORBIDDEN = (
        f"{{said}}: its user may not read {{folder}}{_CHALLENGES}; open the folders above it "
        "(namei -l {folder}), and allow access in its configuration"
    )
    HTTP_OTHER_HOST = (
        "{said}, while it shows the file for {other}: another virtual host answers, or the default "
        "one; add the name to server_name (nginx), ServerAlias (Apache), or have that host show "
        "the folder as well"
    )
    HTTP_NOT_SHOWN = (
        "{said} for a file that is there: [{elsewhere:if}its alias or root leads elsewhere]"
        "[{answered:if}something else answers for this path].[{default:if} It answers this name as "
        "it answers any, so its default site may be at work.] It has to show "
        f"{{folder}}{_CHALLENGES} on port 80"
    )
    HTTP_NO_ROUTE = (
        "{address} cannot be looked at: this machine has no {family}; a CA may choose this "
        "address: look at it from elsewhere"
    )
    HTTP_SILENT = (
        "{said} (port 80)[, while {other} shows the file; CAs prefer IPv6]; start the web server "
        "there and let port 80 in[{is_six:if}, or remove its AAAA record]"
    )
    HTTP_NAT = (
        "{said} (port 80) from here, while {servers} shows the file: behind NAT this may be "
        f"correct. Try from elsewhere: curl -v http://{{name}}{_CHALLENGES}"
    )
    PORT_NO_ADDRESS = (
        "{name}: it has no address, and so the CA finds no web server; correct the zone"
    )
    PORT_SILENT = "{name}: {address} port 80 does not answer; open it, the CA comes this way"
    PORT_CLOSED = "{name}: {address} port 80: {why}; start the web server, the CA comes this way"
    PORT_WELL = "{what} can be reached; no more was looked at"
    # --- servers
    NO_RSYNC = "{host} has no rsync; install it there"
    HOST_HANGS = "{host}: a visit takes longer than {seconds} s; see why it hangs"
    HOST_WELL = "{host} lets us in, and has rsync"
    HOST_LACKS = "{host} does not have {certs}; run: sslmctl deliver"
    HOST_TO_GO = "{host}: {things} is no longer granted; the daemon removes it at its next visit"
    PRODUCTION_WELL = "{folder} has only what belongs there"
    PROBE_NONE = "[[{kind}]]: not looked at, because probe = 'none'"
    NO_PORT = "[[{kind}]]: no port is known; name it: probe = [[[[port]]]]"
    PLACE_NO_ADDRESS = "{place}: {host} has no address; correct the name"
    PLACE_NO_ROUTE = "{place}: {said}; look at it from elsewhere"
    PLACE_MUTE = "{place}: {said}; start the server, or correct probe"
    PLACE_UNKNOWN = "{place}: {said}: which certificate clients get is not known"
    NONE_IN_USE = "[[{kind}]] {served}; no certificate of this class is in use yet"
    SERVED_WELL = f"{{where}} serves {{certs}}[; {{not_probed:if}}{_NOT_PROBED}]"
    SERVES_OTHER = (
        "{where} serves {other}, not {cert}, which is for this class, too; if it has a port of its "
        "own, name it in probe"
    )
    SERVES_WRONG = (
        "[[{kind}]] {served}: [{other}][{foreign:if}not ours], where {cert} should be; have the "
        "server read {folder}, and reload it; or name the right port in probe"
        f"[. {{not_probed:if}}{_NOT_PROBED}]"
    )
