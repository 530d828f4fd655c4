"""A network process that an input ends, as the fuzzer and the daemon's end of it see that."""

from __future__ import annotations

import sys

import pytest

from sslmd.core.reason import Reason
from sslmd.core.words.sentence import say
from sslmd.net.dns_messages import EXCHANGE, AskedBy, DnsAnswer, DnsQuestion
from tests.fuzz.subject import HERE, Subject
from tests.fuzz.target import Fault
from tests.stand.server import ROOT

# The real one, but for parsers with holes in them.
_PROGRAM = f"""
import ctypes, sys
sys.path.insert(0, {str(ROOT)!r})
from sslmd.net import child, dns_exchange, dns_reading

def read(data):
    if b"segfault" in data:
        ctypes.string_at(0)
    if b"fault" in data:
        raise KeyError(data[-20:])
    return real(data)

real, dns_exchange.read = dns_reading.read, lambda data: read(data)
child.main(sys.argv[1:])
"""


async def trouble_of(subject: Subject) -> Reason | None:
    return subject.net.trouble


def test_what_ends_it_or_is_a_fault_of_its_own_is_found_and_the_next_input_goes_on() -> None:
    subject = Subject((sys.executable, "-c", _PROGRAM))

    async def ask() -> list[str]:
        asked = DnsQuestion(HERE, subject.ports["dns"], "example.com", "TXT", 5.0, AskedBy.TCP)
        answer = await subject.net.call(EXCHANGE, asked)
        return ["read" if isinstance(answer, DnsAnswer) else str(answer.why)]

    head = b"\0\1\x84\0\0\1" + bytes(6)
    question = b"\7example\3com\0\0\x10\0\1"
    try:
        before = subject.pid
        assert subject.ask(head + question, ask) == ["read"]
        assert subject.net.pid == before
        for said, told in ((b"a fault", "KeyError"), (b"a segfault", "SIGSEGV")):
            with pytest.raises(Fault, match=told):
                subject.ask(head + question + said, ask)
            assert subject.ask(head + question, ask) == ["read"]
        # What ended it was asked three times, each time of another one.
        assert subject.net.pid != before
        trouble = subject.run(trouble_of(subject))
        assert trouble is not None
        assert "SIGSEGV" in say(trouble)
    finally:
        subject.close()
