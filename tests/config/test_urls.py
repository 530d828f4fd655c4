"""What `ca_server` and `ca_test_server` may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_core import PydanticCustomError

from sslmd.config.addresses import directory_url
from sslmd.config.model import LETS_ENCRYPT
from tests.stand.conf import CAS, Tree

RIGHT = "write https://host/path"


@pytest.mark.parametrize(
    "url",
    [
        "",
        LETS_ENCRYPT,
        "https://acme.example.net",
        "https://acme.example.net:14000/dir",
        "https://192.0.2.7/acme/acme/directory",
        "https://[2001:db8::7]:9000/acme/acme/directory",
        "https://acme.example.net/v2/DV90/a~b+c@d:e;f=1",
        "https://acme.example.net/..dir/dir..",
        "https://acme.example.net/%C3%A4",
        "http://127.0.0.1:4000/dir",
        "http://[::1]:4000/dir",
        "http://localhost:4000/dir",
    ],
)
def test_a_plain_url_is_taken_as_it_is(url: str) -> None:
    assert directory_url(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("acme.example.net", f"'acme.example.net' is not a URL; {RIGHT}"),
        ("ftp://acme.example.net/", f"'ftp://acme.example.net/' is not a URL; {RIGHT}"),
        ("https:///dir", f"'https:///dir' is not a URL; {RIGHT}"),
        ("https://../dir", f"'https://../dir' is not a URL; {RIGHT}"),
        ("https://./dir", f"'https://./dir' is not a URL; {RIGHT}"),
        ("https://-x.example/", f"'https://-x.example/' is not a URL; {RIGHT}"),
        ("https://a.example:0/", f"'https://a.example:0/' is not a URL; {RIGHT}"),
        ("https://a.example:99999/", f"'https://a.example:99999/' is not a URL; {RIGHT}"),
        ("https://a.example:x/", f"'https://a.example:x/' is not a URL; {RIGHT}"),
        ("https://a.example/a b", f"'https://a.example/a b' is not a URL; {RIGHT}"),
        ("https://a.example/a\\..\\b", f"'https://a.example/a\\..\\b' is not a URL; {RIGHT}"),
        ("https://a.example/ä", f"'https://a.example/ä' is not a URL; {RIGHT}"),
        ("https://a.example/%zz", f"'https://a.example/%zz' is not a URL; {RIGHT}"),
        (
            "https://a.example/d?x=1",
            f"'https://a.example/d?x=1' has a query or a fragment; {RIGHT}",
        ),
        ("https://a.example/d#x", f"'https://a.example/d#x' has a query or a fragment; {RIGHT}"),
        (
            "https://a.example/../../../../etc",
            "'https://a.example/../../../../etc' has '.' or '..' in its path; "
            "write the path without them",
        ),
        (
            "https://a.example/%2e%2E/etc",
            "'https://a.example/%2e%2E/etc' has '.' or '..' in its path; "
            "write the path without them",
        ),
        (
            "https://a.example/d%00",
            "'https://a.example/d%00' has characters in its path that no file name has; " + RIGHT,
        ),
        (
            "https://a.example/a%2f..%2fb",
            "'https://a.example/a%2f..%2fb' has '.' or '..' in its path; "
            "write the path without them",
        ),
        # The password is not repeated.
        (
            "https://admin:secret@a.example/dir",
            "it has a user or a password in it; write https://host/path; an account that exists "
            "already is bound by ca_eab_kid",
        ),
        (
            "http://acme.example.net/dir",
            "'http://acme.example.net/dir' is not encrypted: nobody would know who answers; write "
            "https://; http:// is only for a server on this machine (127.0.0.1, localhost)",
        ),
        (
            "https://a.example/\x1b[2J",
            "'https://a.example/\\x1b[2J' has control characters; leave them out",
        ),
    ],
)
def test_anything_else_is_refused(url: str, why: str) -> None:
    with pytest.raises(PydanticCustomError) as err:
        directory_url(url)
    assert str(err.value) == why


@pytest.mark.parametrize("key", ["ca_server", "ca_test_server"])
@pytest.mark.parametrize(
    "url",
    [
        "https://acme.example.net/../../../x",
        "https://u:p@acme.example.net/dir",
        "https://acme.example.net/dir?x",
        "http://acme.example.net/dir",
    ],
)
def test_a_configuration_with_one_is_refused(tmp_path: Path, key: str, url: str) -> None:
    tree = Tree(tmp_path)
    tree.write("ca-info.conf", CAS.replace("[le-http]", f"{key} = '{url}'\n[le-http]"))
    (mistake,) = tree.mistakes()
    assert mistake.startswith(f"ca-info.conf:11: le-dns.{key}: ")
