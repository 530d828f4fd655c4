"""What the site's own CAs are to each other: their heights, and loops of signing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

from sslmd.config.model import ServiceConfig
from sslmd.config.report import Source
from sslmd.core.names import CertId, san_or_none, shown
from sslmd.core.spec import LONGEST_SERVER_LIFE, CaOptions, OwnCa, SelfSigned, parts_asked

# Days that a CA's signatures last where the file does not say. An automatic renewal makes
# short lives of leaves free; what has to be installed by hand elsewhere should rarely change.
LIFE_ROOT = 3650
LIFE_SIGNER_OF_CAS = 1825
LIFE_SIGNER_OF_LEAVES = 90


def with_heights(
    cas: Mapping[CertId, ServiceConfig], sources: Mapping[CertId, Source]
) -> dict[CertId, ServiceConfig]:
    """Return the CAs with `path_len` and default lives, which depend on what they sign.

    Notes every loop of CAs that sign each other, once.
    """
    signers = {
        cert: one.spec.signer.cert
        for cert, one in cas.items()
        if isinstance(one.spec.signer, OwnCa)
    }
    _note_twins(cas, sources)
    if _note_loops(signers, sources):
        return dict(cas)
    heights = dict.fromkeys(cas, 0)
    for cert in cas:
        below, height = cert, 0
        while below in signers:
            below, height = signers[below], height + 1
            heights[below] = max(heights.get(below, 0), height)
    return {cert: _with_height(one, heights[cert]) for cert, one in cas.items()}


def _with_height(service: ServiceConfig, height: int) -> ServiceConfig:
    spec = service.spec
    if spec.ca is None:
        return service
    root = isinstance(spec.signer, SelfSigned)
    days = LIFE_ROOT if root else LIFE_SIGNER_OF_CAS if height else LIFE_SIGNER_OF_LEAVES
    ca = CaOptions(
        life=spec.ca.life or timedelta(days=days),
        digest=spec.ca.digest,
        path_len=None if root else height,
    )
    return dataclasses.replace(service, spec=dataclasses.replace(spec, ca=ca))


def warn_of_long_lives(
    services: Mapping[CertId, ServiceConfig], sources: Mapping[CertId, Source]
) -> None:
    """Warn of CAs that give servers certificates which Apple's devices refuse.

    `sources`: the files of the CAs. A CA that is not there was reported already.
    """
    lives = {ca: _life_below(ca, services) for ca in sources}
    long: dict[CertId, CertId] = {}
    for cert, one in services.items():
        signer = one.spec.signer
        if not (one.managed and one.spec.is_for_servers() and isinstance(signer, OwnCa)):
            continue
        if lives.get(signer.cert, LONGEST_SERVER_LIFE) > LONGEST_SERVER_LIFE:
            long.setdefault(signer.cert, cert)
    for ca, leaf in long.items():
        life, limit = lives[ca].days, LONGEST_SERVER_LIFE.days
        root = isinstance(services[ca].spec.signer, SelfSigned)
        sources[ca].warn(
            ("CA", "sign_end_days"),
            f"what {ca.service} signs lives {life} days, {leaf} for one: Apple's devices "
            f"refuse a server's certificate of more than {limit} "
            "(https://support.apple.com/HT210176)",
            f"sign servers' certificates by a CA below it, which has a sign_end_days of {limit} or "
            "less"
            if root
            else f"write {limit} or less; they are renewed in time",
        )


def _life_below(ca: CertId, services: Mapping[CertId, ServiceConfig]) -> timedelta:
    """Return how long at the most that lives which a CA signs: nothing outlives its signer."""
    life, seen = timedelta.max, set[CertId]()
    while ca in services and ca not in seen:
        seen.add(ca)
        spec = services[ca].spec
        life = min(life, spec.ca.life if spec.ca is not None else life)
        if not isinstance(spec.signer, OwnCa):
            return life
        ca = spec.signer.cert
    return timedelta(0)  # a loop, or a CA that is missing: reported already


def _note_twins(cas: Mapping[CertId, ServiceConfig], sources: Mapping[CertId, Source]) -> None:
    """Note CAs that have one name: clients could not tell which of them signed something."""
    known: dict[object, CertId] = {}
    for cert, one in cas.items():
        if one.spec.ca is None or not (parts := parts_asked(one.spec.subject)):
            continue
        first = known.setdefault(parts, cert)
        if first != cert:
            sources[cert].mistake(
                ("X509",),
                f"{cert} has the same name as {first}, and clients could not tell them apart",
                "give a CA that is not in use yet another CN; of two that are in use, leave one "
                "out of the groups and of conf.d/ca",
            )


def _note_loops(signers: Mapping[CertId, CertId], sources: Mapping[CertId, Source]) -> bool:
    found: set[CertId] = set()
    for start in signers:
        way: list[CertId] = []
        cert = start
        while cert in signers and cert not in way and cert not in found:
            way.append(cert)
            cert = signers[cert]
        if cert in way:
            loop = way[way.index(cert) :]
            found.update(loop)
            names = " is signed by ".join(str(one.service) for one in (*loop, cert))
            sources[cert].mistake(
                ("signing_ca",),
                f"{names}: that is a loop",
                "one of them has to be a root: signing_ca = 'self'",
            )
    return bool(found)


def without_titles(raw: dict[str, object], source: Source) -> dict[str, object]:
    """Return a CA's service file without those `sans` that are no names.

    ssl-mgr takes any text there, and nobody looks at the names of a CA.
    """
    table = raw.get("X509")
    sans = table.get("sans") if isinstance(table, dict) else None
    if not isinstance(table, dict) or not isinstance(sans, list):
        return raw
    kept = []
    for index, text in enumerate(sans):
        if isinstance(text, str) and san_or_none(text) is None:
            source.warn(
                ("X509", "sans", index),
                f"{shown(text)} is no host name or address: the next certificate does not have it",
                "remove it: nobody looks at the names of a CA",
            )
        else:
            kept.append(text)
    return {**raw, "X509": {**table, "sans": kept}}
