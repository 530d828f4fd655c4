"""Which certificates words on a command line name."""

from __future__ import annotations

import time

import pytest

from sslmd.core.errors import Refused
from sslmd.core.names import CertId
from sslmd.core.state import CertState
from sslmd.daemon.registry import Registry, Taken, UnknownCertError, entry_of
from tests.stand.tools import Tools


@pytest.fixture
def registry(tools: Tools) -> Registry:
    registry = Registry()
    for cert, service in tools.site.config.services.items():
        registry.put(cert, Taken(entry_of(tools.site.config, service, CertState(), None)))
    registry.relate()
    return registry


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["example.com:web-ec"], ["example.com/web-ec"]),
        (["example.com/web-ec"], ["example.com/web-ec"]),
        (["Example.COM.:web-ec"], ["example.com/web-ec"]),
        (["example.com:mail-ec,web-ec"], ["example.com/mail-ec", "example.com/web-ec"]),
        (["example.com:mail-ec, web-ec ,"], ["example.com/mail-ec", "example.com/web-ec"]),
        (["example.net"], ["example.net/web-ec"]),
        (["example.net:ALL"], ["example.net/web-ec"]),
        (["example.net:*"], ["example.net/web-ec"]),
        (["ca:my-int", "ca:my-int"], ["ca/my-int"]),
    ],
)
def test_words_that_name_certificates(
    registry: Registry, words: list[str], found: list[str]
) -> None:
    assert [str(cert) for cert in registry.select(words)] == found


def test_no_words_name_all_that_is_managed(registry: Registry) -> None:
    assert registry.select(None) == registry.managed()
    assert len(registry.managed()) >= 6


def test_more_names_than_there_are_certificates(registry: Registry) -> None:
    for words in (["ca:my-int"] * 100_000, ["example.com:" + "web-ec," * 100_000]):
        with pytest.raises(Refused, match="more than the"):
            registry.select(words)


def test_a_group_is_looked_through_once_however_often_it_is_named(registry: Registry) -> None:
    """Every spelling of it: with thousands of certificates that would be millions of steps."""
    entry = next(iter(registry.entries.values()))
    for number in range(5000):
        registry.put(CertId("example.edu", f"s{number}"), Taken(entry))
    registry.relate()
    words = ["example.edu", "example.edu:ALL", "EXAMPLE.edu:*", "example.edu/ALL"] * 1000
    began = time.thread_time()
    assert len(registry.select(words)) == 5000
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("example.com:nothing", "there is no example.com:nothing; example.com has "),
        ("example.org:web", "there is no example.org:web; example.org has nothing"),
        ("example.org", "there is no group example.org; there are ca, example.com, example.net"),
        ("../../etc:passwd", "is not group:service"),
        ("example.com:../x", "is not group:service"),
        ("x" * 300, "is not group:service"),
        ("", "is not group:service"),
        (":", "is not group:service"),
    ],
)
def test_words_that_name_nothing(registry: Registry, word: str, said: str) -> None:
    with pytest.raises(UnknownCertError) as caught:
        registry.select([word])
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_the_configuration_leaves_out_is_said(registry: Registry) -> None:
    registry.why_absent = lambda group, service: (
        f"{group} {service}: asleep" if group[-1] == "g" else ""
    )
    for word, said in (
        ("example.org:web", "example.org:web: example.org web: asleep"),
        ("example.org:ALL", "example.org: example.org : asleep"),
        ("example.edu:web", "there is no example.edu:web; example.edu has nothing"),
    ):
        with pytest.raises(UnknownCertError) as caught:
            registry.select([word])
        assert str(caught.value) == said


def test_who_is_signed_by_whom(registry: Registry) -> None:
    root, intermediate = registry.select(["ca:my-root", "ca:my-int"])
    assert registry.below(root) == [intermediate]
    assert len(registry.below(intermediate)) >= 4
