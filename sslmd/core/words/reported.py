"""Words for `Reported` and `ToDo`: what happens beside certificates, and the rows of the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslmd.core.told import Reported, ToDo

# For type checkers alone: `typing` is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COUNTS = "configuration loaded: {added} added, {removed} removed, {changed} changed"

REPORTED: Mapping[Reported, str | Callable[[Mapping[str, Any]], str]] = {
    Reported.STARTED: "sslmd {version} is ready: {text}",
    Reported.STOPPING: "stopping",
    Reported.CLOCK: "the clock was set by {seconds} s, or the machine slept; planning again",
    Reported.NO_LOG: "cannot log to {folder}: {said}; correct logdir in ssl-mgr.conf",
    Reported.CONFIG_LOADED: (
        f"{_COUNTS}[; added: {{which_added:ten}}][; removed: {{which_removed:ten}}]"
        "[; changed: {which_changed:ten}][; {tables:lines}]"
    ),
    Reported.TABLE_NEW: "{table} is new",
    Reported.TABLE_GONE: "{table} is gone",
    Reported.TABLE_KEYS: "{table}: {keys}",
    Reported.TABLES_ORDER: "the order of the tables of {file}",
    Reported.CONFIG_STAYS: "the old configuration stays in force; {consequence}",
    Reported.CONFIG_REFUSED: (
        "the configuration was refused at {at}: {mistake}[ (and {more} more)]; {consequence}"
    ),
    Reported.START_FAILS: "the next start would fail",
    Reported.GIVES_UP: "the next start would give these certificates up",
    Reported.NEEDS_START: "a restart of sslmd is needed for it",
    Reported.NOTICE_SENT: "notifier {name}: {subject}",
    Reported.FORGOTTEN: "{host} is forgotten, as an admin asked",
    Reported.REMOVED_THERE: "{host}: removed {what}",
    Reported.NOT_REMOVED: "not removed: {why}",
    Reported.HOLDS_UNKNOWN: "what {host} holds is not known: {why}",
    Reported.HOLDS_UNNOTED: "what {host} holds cannot be noted: {why}",
    Reported.DH_CHANGED: "{folder}: {changes}",
    Reported.DH_WRITTEN: "{file} written",
    Reported.DH_MADE: "{file} generated",
    Reported.DH_LINK: "{link} leads to {file}",
    Reported.DH_AGAIN: "{why}; it is tried again every day",
}

TO_DO: Mapping[ToDo, str] = {
    ToDo.OF_KIND: "{kind}",
    ToDo.ROLL: "roll",
    ToDo.AGAIN: "try again",
    ToDo.RENEW: "renew",
    ToDo.WAIT: "wait",
    ToDo.COPY: "copy to {host}[:{folder}]",
    ToDo.RESTART: "restart {classes} [on {host}|here][: {command}]",
    ToDo.SEE: "look at {classes} on {host}",
    ToDo.RUN_HERE: "run here: {command}",
    ToDo.REMOVE: "remove from {host}",
    ToDo.PUBLISH: "publish TLSA records of {zone}",
    ToDo.LOOK: "look at TLSA records of {zone}",
    ToDo.WATCH: "watch TLSA ports of {zone}",
    ToDo.CHALLENGES: "publish challenges of {zone}",
    ToDo.READ_HELD: "read what is held",
    ToDo.WRITE_NOTES: "write state.toml again",
    ToDo.ASK_CA: "ask the CA {ca}",
    ToDo.ALARMS: "look for alarms",
    ToDo.NOTIFY: "notify {name}",
    ToDo.ALIVE: "say that the daemon works",
    ToDo.DH: "write Diffie-Hellman groups",
}
