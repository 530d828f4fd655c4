"""Words for `Failed`: messages that were not sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.failed import Failed

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Facts = Mapping[str, Any]

# What HTTP says of an address (RFC 9110 §15.5).
_OF_THE_ADDRESS = {
    401: "; correct its user, password or token",
    403: "; correct its user, password or token",
    404: "; correct what stands after the host",
    410: "; nobody takes messages there any more",
    413: "; the message is too long for it",
}


def _status(facts: Facts) -> str:
    hint = _OF_THE_ADDRESS.get(facts["status"], "")
    return (
        f"{{to}}: the server answers with status {{status}}[ and wants to be left alone for "
        f"{{wait:span}}]{hint}"
    )


NOTIFY: Mapping[Failed, str | Callable[[Facts], str]] = {
    Failed.NOT_CONNECTED: "{said}",
    Failed.NOT_IN_TIME: "no answer in time",
    Failed.NOTIFY_ADDRESS: (
        "{to}: Apprise cannot use the address; write it as https://appriseit.com says, without "
        "files in it, and try it: sslmctl notify --test"
    ),
    Failed.NOTIFY_PACKAGE: (
        "{to}: Apprise needs a Python package for it that sslmd does not have; use another service"
    ),
    Failed.NOTIFY_UNREACHED: "{to}: the server cannot be reached: {why}",
    Failed.NOTIFY_STATUS: _status,
    Failed.NOTIFY_REDIRECTED: (
        "{to}: the server answers with a redirect ({status}), which is not followed; write the "
        "address that it leads to"
    ),
    Failed.NOTIFY_REPLY: (
        "{to}: the mail server refuses it with {status}; correct the user, the password or the "
        "recipient"
    ),
    Failed.NOTIFY_REFUSED: (
        "{to}: Apprise could not send it and gives no reason; check the address, and try it: "
        "sslmctl notify --test"
    ),
    Failed.NOTIFY_OVERDUE: "{to}: it was not sent within {seconds} s",
    Failed.NO_SENDMAIL: (
        "{to}: there is no sendmail on this machine; install a mail server (postfix, exim4, "
        "msmtp-mta), or write the address of one: mailtos://user:password@host"
    ),
    Failed.SENDMAIL_EXITED: "{to}: sendmail exited with {status}[: {said}]",
    Failed.SENDMAIL_BARRED: (
        "{to}: sendmail exited with {status}, because the daemon's unit takes its rights from it"
        "[ ({said})]; run: systemctl enable --now sslmd-notify.socket"
    ),
    Failed.SENDER_SILENT: "{to}: the program that sends messages ended without an answer",
    Failed.SENDER_BUG: (
        "{to}: the program that sends messages has an error of its own ({error}); please report it"
    ),
    Failed.NOTIFY_FILE: "cannot read to_file {file}: {problem}; {remedy}",
    Failed.NOTIFY_NOBODY: "to_file {file} has no address; write one on a line",
    Failed.CLOCK_BEHIND: (
        "the clock is wrong, or was: it was set back[; what was seen before is of {at}]"
    ),
    Failed.DISK_FULL: "{path}: {free} MB[ and {entries} entries] are free on its file system",
    Failed.ALARMS_UNSAVED: (
        "{path}: cannot be written: {why}; until it can, a restart forgets silences, and reports "
        "again what was reported"
    ),
    Failed.CERTS_DIR: "certs_dir changed from {folder}: that takes a restart of sslmd",
    Failed.CONFIG_REFUSED: "{mistake}[ (and {more} more)]; {consequence}",
    Failed.DH_FAILED: "{error}",
    Failed.NOT_ALIVE: "no sign of life is given: {why}",
    Failed.PLAN_OLD: "nothing was planned for hours; please report it",
    Failed.LOOK_OLD: "nobody has looked for alarms for some time; please report it",
    Failed.ALIVE_REFUSED: (
        "alive_url: {host} [answers with status {status}|cannot be reached]; correct it in "
        "ssl-mgr.conf"
    ),
    Failed.FIX_NOTIFY_COMMAND: "correct command of [[[[notify]]]] or install the program",
}
