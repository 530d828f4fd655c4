"""Words for `Held` and `Failed`: hosts, what lies there, and what is run there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.failed import Failed
from sslmd.core.reason import Held

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

_NEEDS = "sslmd needs a POSIX shell with coreutils or busybox, and rsync, for the user that logs in"


def _no_shell(facts: Facts) -> str:
    heard = ["it says {words}"] if facts.get("words") else []
    heard += ["{said}"] if facts.get("said") else []
    return f"{', '.join(heard)}, and ends. {_NEEDS}: see its login shell, ForceCommand and command="


def _gone(facts: Facts) -> str:
    said = "{said}" if facts.get("said") else "the connection ended"
    return f"{said}[; its last words were {{words}}]; see whether it is up and lets this machine in"


def _exited(facts: Facts) -> str:
    return f"{{command}} exited with {{status}}: {_said(facts)}"


def _killed(facts: Facts) -> str:
    return f"{{command}} was killed by signal {{signal}}: {_said(facts)}"


def _said(facts: Facts) -> str:
    return "{said}" if facts.get("said") else "it said nothing"


def _not_put(facts: Facts) -> str:
    text = "it does not say that {cert} is in its place; see whether its disk is full"
    return f"{text} ({_said(facts)})"


def _right(what: str) -> str:
    return f"on {{where}} {what}: docs/operations.md"


def _surplus(facts: Facts) -> str:
    ways = "prune = true in {prune:and} removes it" if facts["prune"] else "remove it by hand"
    if facts["deliver"] and not facts["prune"]:
        ways = f"sslmctl deliver ca:NAME removes keys of a CA; {ways}"
    return (
        "in {prod}, found certificates or keys that do not belong there: {things}[ and {more} "
        f"more]; {ways}; if it is meant, name it in keep of [[globals]]"
    )


def _left_host(facts: Facts) -> str:
    some = "{things}" if facts["things"] else "older ones"
    return (
        f"{{host}} is no longer in a server class, but has what was copied there, with keys: {some}"
        "; remove it from {places:and} there, then run: sslmctl forget {host} --yes"
    )


def _keys_closed(facts: Facts) -> str:
    verb = "does not let" if len(facts["folders"]) == 1 else "do not let"
    group = "group {group}" if facts.get("group") else ""
    owner = "user {owner}" if facts.get("owner") else ""
    who = " or ".join(filter(None, (group, owner))) or "others"
    return f"{{folders}} {verb} {who} through to the keys; run: {{command}}"


HELD_HOSTS: Mapping[Held, str | Callable[[Facts], str]] = {
    Held.SURPLUS: _surplus,
    Held.OLDER_PRODUCTION: (
        "{folders:and} is not used any more (prod_cert_dir), but still has keys; remove what lies "
        "there when no server reads it, or name what is meant to stay in keep of [[globals]]"
    ),
    Held.LEFT_HOST: _left_host,
    Held.KEYS_CLOSED: _keys_closed,
}

HOSTS: Mapping[Failed, str | Callable[[Facts], str]] = {
    Failed.COMMAND_EXITED: _exited,
    Failed.COMMAND_KILLED: _killed,
    Failed.COMMAND_OVERDUE: (
        "{command} was ended after {seconds} s; see why it hangs, or raise {limit}[; {said}]"
    ),
    Failed.COMMAND_NOT_NOW: "cannot start {command} now: {said}",
    Failed.COMMAND_NOT_STARTED: "cannot start {command}: {said}; {remedy}",
    # What a command that was refused has no right to.
    Failed.RIGHT_POLKIT: _right(
        "its user may not do that to the unit; allow it with a polkit rule"
    ),
    Failed.RIGHT_SUDO: _right("sudo wants a password; allow the command with NOPASSWD in sudoers"),
    Failed.RIGHT_SUDOERS: _right(
        "sudoers does not allow it; add a line with NOPASSWD for this command"
    ),
    Failed.RIGHT_MISSING: _right(
        "its user is not permitted to; let it run as one who is (polkit, sudo, or user@host)"
    ),
    Failed.FIX_PROGRAM: "install the program",
    Failed.FIX_OPENSSL: "install openssl",
    Failed.FIX_RSYNC: "install rsync on this machine",
    Failed.FIX_RESTART_CMD: "correct restart_cmd or install the program",
    Failed.FIX_POST_COPY_CMD: "correct post_copy_cmd or install the program",
    Failed.FIX_RESTART_THERE: "correct restart_cmd or install it there",
    Failed.SSH_NOT_NOW: "cannot start ssh now: {said}",
    Failed.SSH_NO_FOLDER: "cannot make a folder for a connection: {said}",
    Failed.SSH_HANGS: "ssh -G {host} does not end",
    Failed.SSH_MISSING: "ssh is not on this machine; install an ssh client",
    Failed.HOST_KEY_CHANGED: (
        "{said}; its host key differs from the known one: find out why, then: ssh-keygen -R {host}"
    ),
    Failed.HOST_KEY_UNKNOWN: (
        "{said}; its host key is not known: log in once as the daemon's user, or add it to "
        "known_hosts"
    ),
    Failed.HOST_LOGIN: (
        "{said}; it lets nobody in without a password: as the daemon's user, run: ssh-copy-id "
        "{host}"
    ),
    Failed.HOST_ONLY_RSYNC: (
        f"{{said}}; its login is limited to rsync; {_NEEDS}: remove command= from authorized_keys "
        "there"
    ),
    Failed.HOST_UNRESOLVED: "{said}; look at the name, or at the name servers",
    Failed.HOST_NO_SHELL: _no_shell,
    Failed.HOST_SHELL_ENDED: (
        f"its shell ended at once with exit status {{status}}, and said nothing. {_NEEDS}"
    ),
    Failed.HOST_GONE: _gone,
    Failed.HOST_TOO_MUCH: (
        "it sent more than {characters} characters, or {lines} lines; check that it is still the "
        "same machine"
    ),
    Failed.HOST_CLOSED: ("it let nobody in within {seconds} s[ ({said})]; check whether it works"),
    Failed.HOST_SILENT: "it did not answer within {seconds} s[ ({said})]; check whether it works",
    Failed.HOST_SAYS: _said,
    Failed.HOST_NO_PLACE: "it does not say where copies go; check whether it works",
    Failed.RSYNC_OVERDUE: "rsync was ended after {seconds} s; {said}",
    Failed.RSYNC_EXITED: "rsync exited with {status}: {said}; {remedy}",
    Failed.FIX_PRINTS: (
        "its login prints text; silence its start-up files for sessions that are not interactive"
    ),
    Failed.FIX_NO_RSYNC: ("there is no rsync where its user looks for programs; install it there"),
    Failed.FIX_SPACE: "free some space there",
    Failed.FIX_DISK: "see whether its disk is full",
    Failed.FIX_WAIT: "it is tried again",
    Failed.NO_SET_TO_DELIVER: "{cert} has nothing to deliver",
    Failed.SET_WITHOUT_CERT: "{folder} has no certificate to deliver; renew {arg}",
    Failed.NOT_MEANT: "{cert} is not meant for {host} any more",
    Failed.NOT_PUT: _not_put,
    Failed.NO_SUCH_OWNER: (
        "there is no {what} {name} on this machine; correct {key}, or add the {what}"
    ),
    Failed.NOT_RESTARTED: "the restart failed: {why}",
    Failed.HOST_NO_ADDRESS: "{host} has no address; check its A and AAAA records",
    Failed.NOT_SERVED: (
        "{host} does not serve the new certificate[ for {name}] within {seconds} s: {seen:lines}"
        "[; and {more} more]; see whether its configuration reads {path}, and whether restart_cmd "
        "makes it read it"
    ),
    Failed.NOBODY_LOOKED: (
        "nobody could look whether {host} serves it: {seen:lines}[; and {more} more]; it is looked "
        "at again"
    ),
    Failed.LINK_WRONG: "nothing is removed while a link is wrong: {why}",
    Failed.NOT_ON_DECK: (
        "set {set} is no longer on deck; somebody changed the links, run: sslmctl reload"
    ),
    Failed.CHANGED_ON_DISK: (
        "set {set} was changed on disk: {problem}; run: sslmctl force-renew {arg}"
    ),
    Failed.CHALLENGE_NOT_PUT: "cannot write challenges to {host}: {why}",
    Failed.CHALLENGE_NOT_REMOVED: "cannot remove challenges from {host}: {why}",
    Failed.CHALLENGE_HANGS: "it did not end within {seconds} s; find out what hangs there",
    Failed.NO_OPENSSL: (
        "openssl, which generates Diffie-Hellman groups, is not installed; install it, or write "
        "names such as 'ffdhe4096' in params of [[dh]]"
    ),
    Failed.DH_OVERDUE: (
        "{command} was ended after {hours} h; write a smaller size in params of [[dh]], or names "
        "such as 'ffdhe4096'"
    ),
}
