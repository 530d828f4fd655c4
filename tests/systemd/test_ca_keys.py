"""The keys of the site's own CA stay in the working tree (I1)."""

from __future__ import annotations

from tests.stand.supervised import Supervised


def test_production_has_no_key_of_a_ca() -> None:
    with Supervised() as daemon:
        daemon.wait_match("web on localhost was restarted")
        daemon.wait_match("ca/my-int: live; no server depends on it")
        daemon.stop()
        prod = daemon.top / "prod-certs"
        secret = {
            path.relative_to(prod).parts[0]
            for path in prod.rglob("*")
            if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
        }
        assert (prod / "ca" / "my-int" / "curr" / "cert.pem").exists()
        assert secret
        assert "ca" not in secret


def test_a_key_of_a_ca_that_was_in_production_is_removed() -> None:
    """As an older tool left it; the daemon meets it when it takes the tree over."""
    with Supervised() as daemon:
        daemon.wait_match("ca/my-int: live; no server depends on it")
        daemon.stop()
        folder = daemon.top / "certs" / "ca" / "my-int"
        exposed = daemon.top / "prod-certs" / "ca" / "my-int" / "curr" / "privkey.pem"
        exposed.write_bytes((folder / "curr" / "privkey.pem").read_bytes())
        (folder / "state.toml").unlink()
        daemon.begin()
        daemon.wait_match("ca/my-int: live; no server depends on it")
        assert not exposed.exists()
