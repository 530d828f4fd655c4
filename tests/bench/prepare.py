"""A tree of certificates that are all live, made without a daemon and without waiting for disks."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path

from sslmd.config.load import load
from sslmd.config.model import Config, ServiceConfig
from sslmd.core.names import CertId, SetName
from sslmd.core.spec import OwnCa
from sslmd.core.state import CertState, Delivered, SetNote
from sslmd.pki.chain import bundle, fullchain
from sslmd.pki.csr import make_csr
from sslmd.pki.keys import generate_key
from sslmd.pki.local_ca import Issued, SelfSigning, SigningCa, sign
from sslmd.store.layout import BUNDLE, CERT, CHAIN, CSR, CURR, FULLCHAIN, PRIVKEY, Tree, link_target
from sslmd.store.state import HistoryEntry, Notes, render


def prepare(conf_dir: Path) -> Config:
    """Make every certificate of a configuration live, as after a first start; return it."""
    config = load(conf_dir)
    made: dict[CertId, tuple[bytes, Issued]] = {}
    tree = Tree(str(config.globals.certs_dir))
    prod = Tree(str(config.globals.prod_cert_dir))
    rng = random.Random(1)
    now = datetime.now(UTC)
    # CAs first, those that sign others before the others.
    for service in sorted(config.services.values(), key=lambda one: _depth(config, one)):
        made[service.id] = _make(config, service, made, now)
        _write(tree, prod, service, *made[service.id], now, rng.uniform(-1, 1))
    return config


def _depth(config: Config, service: ServiceConfig) -> int:
    signer = service.spec.signer
    return 1 + _depth(config, config.services[signer.cert]) if isinstance(signer, OwnCa) else 0


def _make(
    config: Config, service: ServiceConfig, made: dict[CertId, tuple[bytes, Issued]], now: datetime
) -> tuple[bytes, Issued]:
    spec = service.spec
    key = generate_key(spec.key)
    signer: SigningCa | SelfSigning = SelfSigning(key)
    if isinstance(spec.signer, OwnCa):
        ca_key, ca = made[spec.signer.cert]
        options = config.services[spec.signer.cert].spec.ca
        assert options is not None
        signer = SigningCa(ca_key, ca.cert_pem, ca.chain_pem, options)
    return key, sign(make_csr(key, spec), spec, signer, now=now)


def _write(
    tree: Tree,
    prod: Tree,
    service: ServiceConfig,
    key: bytes,
    issued: Issued,
    now: datetime,
    draw: float,
) -> None:
    name = SetName.at(now)
    folder = Path(tree.set_dir(service.id, name))
    folder.mkdir(parents=True, mode=0o750)
    contents = {
        PRIVKEY: key,
        CSR: make_csr(key, service.spec),
        CERT: issued.cert_pem,
        CHAIN: issued.chain_pem,
        FULLCHAIN: fullchain(issued.cert_pem, issued.chain_pem),
        BUNDLE: bundle(key, issued.cert_pem, issued.chain_pem),
    }
    for file, data in contents.items():
        path = folder / file
        path.write_bytes(data)
        path.chmod(0o600 if file in (PRIVKEY, BUNDLE) else 0o644)
    os.symlink(link_target(name), tree.link(service.id, CURR))
    place = Path(prod.set_dir(service.id, name))
    place.mkdir(parents=True, mode=0o750)
    for file, data in contents.items():
        if file != CSR and not (service.spec.ca and file in (PRIVKEY, BUNDLE)):
            (place / file).write_bytes(data)
            (place / file).chmod(0o600 if file in (PRIVKEY, BUNDLE) else 0o644)
    os.symlink(link_target(name), prod.link(service.id, CURR))
    notes = Notes(
        {name: SetNote(draw, now, str(service.spec.signer))},
        CertState(rolled_at=now, deployed=name, settled=name, delivered=Delivered(name)),
    )
    texts = ("key made", "certificate issued", "live", "in production", "restarted")
    entries = [HistoryEntry(now, text.replace(" ", "-"), str(name), text) for text in texts]
    Path(tree.state_file(service.id)).write_bytes(render(notes, {}, None, entries))
