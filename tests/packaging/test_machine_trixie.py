"""The package in a booted Debian 13: see story.py."""

from __future__ import annotations

from tests.packaging.story import Parts, from_its_installation_to_its_end, site_on


def test_the_package_from_its_installation_to_its_end() -> None:
    with site_on("trixie") as site:
        from_its_installation_to_its_end(site, Parts.OF_THE_RELEASE)
