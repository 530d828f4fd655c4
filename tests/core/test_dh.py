from __future__ import annotations

import pytest

from sslmd.core.dh import NAMED_BITS, NAMES, DhGroup
from sslmd.core.names import BadName
from sslmd.pki.dhparam import dhparam


@pytest.mark.parametrize(
    ("text", "group", "file"),
    [
        ("ffdhe8192", DhGroup(8192), "dh-ffdhe8192.pem"),
        ("ffdhe2048", DhGroup(2048), "dh-ffdhe2048.pem"),
        ("2048", DhGroup(2048, own=True), "dh2048.pem"),
        ("8192", DhGroup(8192, own=True), "dh8192.pem"),
    ],
)
def test_a_name_or_a_size(text: str, group: DhGroup, file: str) -> None:
    assert DhGroup.parse(text) == group
    assert group.file == file
    assert str(group) == text


@pytest.mark.parametrize(
    "text",
    ["", "ffdhe", "ffdhe1024", "ffdhe2049", "FFDHE2048", "2047", "8193", "16384", "-2048", "2048 ",
     "99999999", "２０４８", "2048.0", "../2048"],
)  # fmt: skip
def test_nothing_else(text: str) -> None:
    with pytest.raises(BadName, match="is no Diffie-Hellman group"):
        DhGroup.parse(text)


def test_every_name_has_its_group() -> None:
    for bits, name in zip(NAMED_BITS, NAMES, strict=True):
        assert DhGroup.parse(name).bits == bits
        assert dhparam(bits)
