"""The limits on what others can send or cost, with their tests: the table in docs/security.md.

`python -m tests.limits docs/security.md` writes it there again, with the values of the program.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from sslmd.acme import certbot_log, certbot_run, directory, launch, permits
from sslmd.core import alarm, notices, plain
from sslmd.core.words import alarms as alarm_words
from sslmd.daemon import loop
from sslmd.dns import ask, bounds, manners
from sslmd.net import (
    acme_ca,
    client,
    dns_exchange,
    dns_messages,
    dns_reading,
    handshake,
    http_look,
    link,
    probe_messages,
    sandbox,
    starttls,
    telling,
    web,
)
from sslmd.notify import bounded, mail
from sslmd.servers import http01, ssh, ssh_line
from sslmd.store import note_kinds
from sslmd.wire import sending
from sslmd.workers import notify

_PLACE = re.compile(r"(<!-- limits: begin -->\n).*(<!-- limits: end -->)", re.DOTALL)


@dataclass(frozen=True)
class Limit:
    """A row. `test`: `FILE::FUNCTION` below `tests/`, where it is met."""

    whose: str
    what: str
    value: str
    beyond: str
    test: str


def _size(number: int) -> str:
    unit, shift = ("MiB", 20) if number >= 1 << 20 else ("KiB", 10)
    return f"{number >> shift} {unit}" if number >= 1 << 10 else f"{number} bytes"


_DNS = "dns/test_hostile.py"
_TOLD = "workers/test_what_hosts_tell.py"
_PROBE = "servers/test_probe_hostile.py"
_LOOK = "servers/test_http01_look.py"
_DIRECTORY = "acme/test_directory.py"
_LAUNCH = "acme/test_launch.py::test_each_limit_is_told_as_what_it_is"
_QUEUED = "integration/test_acme_hostile.py::test_the_others_go_on"

_NET = "net/test_client.py"
_FLOODS = "net/test_link_floods.py"
_SENT = "notify/test_program.py"

LIMITS = (
    Limit(
        "name servers",
        "an answer by UDP",
        f"{dns_messages.PAYLOAD} bytes; {dns_exchange.MOST_DAMAGED} that cannot be read",
        "passed over unread; the server counts as silent",
        f"{_DNS}::test_what_is_no_answer_is_dropped_before_it_is_parsed",
    ),
    Limit(
        "name servers",
        "an answer",
        f"{dns_messages.MOST_RECORDS} records, {dns_reading.STEPS} steps of the parser; "
        f"{dns_reading.STEPS_AT_ONCE} steps in the event loop, more in a thread",
        "not used; the zone is told",
        f"{_DNS}::test_a_long_answer_to_everything_stalls_nothing_and_is_told",
    ),
    Limit(
        "name servers",
        "time for an answer",
        f"{ask.TIMEOUT:g} s by UDP, and by TCP",
        "silent; asked again later",
        f"{_DNS}::test_slow_and_wrong_tcp_ends_in_time",
    ),
    Limit(
        "name servers",
        "servers of a zone, addresses of each",
        f"{bounds.MOST_SERVERS}, {bounds.MOST_ADDRESSES}",
        "the rest is not asked; `status` says so",
        f"{_DNS}::test_a_zone_gets_so_many_servers_and_addresses",
    ),
    Limit(
        "name servers",
        "questions under way in all; at servers that are slow or silent",
        f"{bounds.MOST_QUESTIONS}; {bounds.MOST_DOUBTFUL}",
        "wait; `status` says so",
        f"{_DNS}::test_so_many_questions_are_under_way_in_all",
    ),
    Limit(
        "name servers",
        "questions at one address at a time",
        f"{manners.PLACES}, at a resolver of yours {manners.RESOLVER_PLACES}",
        "wait",
        f"{_DNS}::test_no_address_is_asked_faster_than_the_schedule_says",
    ),
    Limit(
        "CAs",
        "the directory",
        f"{_size(web.MOST_BYTES)} in {directory.TIMEOUT:g} s, {acme_ca.MOST_REDIRECTS} redirects",
        "the attempt fails, and says so",
        f"{_DIRECTORY}::test_too_long",
    ),
    Limit(
        "CAs",
        "what is read of certbot's log and output",
        _size(certbot_log.MOST),
        "the end of it is read",
        "acme/test_problems.py::test_huge_texts_cost_little",
    ),
    Limit(
        "CAs",
        "certbot: memory, a file, open files, processor time",
        f"{_size(launch.MEMORY)}, {_size(launch.FILE_SIZE)}, {launch.OPEN_FILES}, "
        f"{launch.CPU_TIME} s",
        "it is ended; the message says which",
        _LAUNCH,
    ),
    Limit(
        "CAs",
        "certbot: time until the first challenge, until all",
        f"{certbot_run.BEGINNING.seconds} s, {certbot_run.HANDING_IN.seconds // 60} min",
        "it is ended; tried again later",
        _QUEUED,
    ),
    Limit(
        "CAs",
        "places for orders of one CA while another's wait",
        f"{loop.ORDERS // 2} of {loop.ORDERS}",
        "wait",
        _QUEUED,
    ),
    Limit(
        "web servers",
        "the look at a challenge",
        f"{probe_messages.TIMEOUT:g} s, {http_look.MOST_REDIRECTS} redirects, head "
        f"{_size(http_look.MOST_HEAD)}, body {_size(http_look.MOST_BODY)}; ports 80 and 443",
        "not shown, and why",
        f"{_LOOK}::test_endless",
    ),
    Limit(
        "TLS ports",
        "a look",
        f"{probe_messages.TIMEOUT:g} s, {_size(handshake.MOST_BYTES)} until the handshake is done, "
        f"{starttls.MOST_LINES} lines of {_size(starttls.MOST_LINE)} before it",
        "not seen, and why",
        f"{_PROBE}::test_endless_handshakes_end",
    ),
    Limit(
        "TLS ports",
        "a group for Diffie-Hellman",
        f"{handshake.MOST_DH_BITS} bits",
        "not calculated",
        f"{_PROBE}::test_a_group_of_10000_bits_costs_nothing",
    ),
    Limit(
        "far hosts",
        "time to connect, to log in, for a step, for a copy",
        f"{ssh_line.CONNECT} s, {ssh.LOGIN:g} s, {ssh.STEP:g} s, {ssh.COPYING / 60:g} min",
        "the visit ends; tried again later",
        "servers/test_ssh.py::test_it_hangs",
    ),
    Limit(
        "far hosts",
        "an answer",
        f"{_size(ssh.LONGEST_ANSWER)}, {ssh.MOST_LINES} lines",
        "the visit ends",
        f"{_TOLD}::test_an_answer_has_so_many_lines_and_no_more",
    ),
    Limit(
        "far hosts",
        "what is noted of things that do not belong there",
        f"{note_kinds.MOST_SURPLUS} entries of {note_kinds.LONGEST_NAME} bytes",
        "counted",
        f"{_TOLD}::test_surplus_without_end_is_a_hundred_entries_and_a_count",
    ),
    Limit(
        "far hosts",
        "challenges on a web server",
        f"{http01.LIMIT:g} s",
        "the attempt fails",
        "servers/test_http01.py::test_a_host_that_hangs",
    ),
    Limit(
        "the network process",
        "memory of its own",
        _size(sandbox.MEMORY),
        "the question fails, or the process ends and another one is started",
        f"{_NET}::test_memory_without_end_fails_one_question",
    ),
    Limit(
        "the network process",
        "time without a sign of life",
        f"{client.HANGS:g} s",
        "it is ended, and another one is started",
        f"{_NET}::test_one_that_hangs_is_ended",
    ),
    Limit(
        "the network process",
        "a message to the daemon; values in it",
        f"{_size(link.MOST_BYTES)}; {link.MOST_VALUES}",
        "it is ended, and another one is started",
        f"{_FLOODS}::test_a_million_values_cost_no_memory",
    ),
    Limit(
        "the network process",
        "what it asks of the daemon at one time; each second, after so many in a row",
        f"{client.BOUNDS.calls} calls of {_size(client.BOUNDS.size)}; "
        f"{client.BOUNDS.a_second:g}, {client.BOUNDS.at_once}",
        "it is ended, and another one is started; the rest waits",
        f"{_FLOODS}::test_calls_are_done_as_fast_as_they_may_be",
    ),
    Limit(
        "the network process",
        "signatures of one order",
        f"{permits.MOST_ORDERS}",
        "refused, and reported",
        "acme/test_signing.py::test_an_order_is_signed_once_for_each_nonce_and_no_more",
    ),
    Limit(
        "the network process",
        "lines in the journal of a fault of its own",
        f"{telling.LINES}, then {telling.LINES_A_SECOND:g} a second, "
        f"{telling.LONGEST_LINE} characters each",
        "left out",
        f"{_NET}::test_a_fault_in_it_leaves_its_trace_and_no_more",
    ),
    Limit(
        "who takes messages",
        "an answer by HTTP",
        f"{_size(bounded.MOST_BYTES)}, no redirect",
        "the rest is not read; its status counts",
        f"{_SENT}::test_an_answer_of_ten_megabytes_is_not_read",
    ),
    Limit(
        "who takes messages",
        "time for a message; for sendmail",
        f"{sending.SECONDS:g} s; {mail.LIMIT:g} s",
        "the process is ended; tried again by the table",
        f"{_SENT}::test_it_is_over_in_time_whatever_happens",
    ),
    Limit(
        "who takes messages",
        "Retry-After",
        f"{sending.LONGEST_RETRY // 3600} hours",
        "counts as so much",
        f"{_SENT}::test_a_server_that_refuses_is_told_by_its_status",
    ),
    Limit(
        "who takes messages",
        "messages under way; of one notifier",
        f"{notify.PLACES}; {notify.PLACES_OF_ONE}",
        "the others wait",
        "workers/test_notify.py::test_only_so_many_are_under_way",
    ),
    Limit(
        "the process that sends",
        "its answer",
        f"{_size(sending.MOST_ANSWERED)}, of known words",
        "counts as none: tried again",
        "workers/test_notify.py::test_an_answer_that_is_none_is_a_failure",
    ),
    Limit(
        "anybody",
        "alarms of one kind; in full in a message; characters of a cause there",
        f"{alarm.MOST_CAUSES}; {alarm_words.MOST_ALARMS}; {alarm_words.MOST_OF_CAUSE}",
        "the rarest causes are one alarm; counted; cut",
        "core/test_alarm_words.py::test_a_message_has_an_end",
    ),
    Limit(
        "anybody",
        "messages to one address in a day, one by one",
        f"{notices.AT_ONCE}",
        f"one in {notices.PAUSE.seconds // 60} minutes",
        "core/test_notices.py::test_a_flood_of_causes_becomes_a_message_an_hour",
    ),
    Limit(
        "anybody",
        "a question that ends the network process",
        f"{client.TRIES} times, alone after the first",
        "fails; who asked at the same time is asked once more",
        f"{_NET}::test_a_question_that_ends_it_is_given_up_and_told_once",
    ),
    Limit(
        "anybody",
        "words in a line; in a text of an answer",
        f"{plain.MOST}; {plain.MOST_OF_TEXT} characters",
        "cut, with an ellipsis",
        "daemon/test_words_of_others.py::test_nothing_is_escaped_twice",
    ),
)


def table() -> str:
    """Return the table as docs/security.md has it."""
    lines = ["| whose | what | limit | beyond it | test |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {one.whose} | {one.what} | {one.value} | {one.beyond} | `{one.test}` |"
        for one in LIMITS
    ]
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    path = Path(sys.argv[1])
    path.write_text(_PLACE.sub(lambda place: place[1] + table() + place[2], path.read_text()))


if __name__ == "__main__":
    main()
