"""A site of any size for the benchmarks: own CA, EC keys, a hundred services a group."""

from __future__ import annotations

from pathlib import Path

SERVICE = """\
name = 'Service {service}'
group = '{group}'
service = '{service}'
signing_ca = '{ca}'
renew_expire_days = 30
renew_expire_days_spread = 5
used_by = 'none'

[KeyOpts]
ktype = 'ec'
ec_algo = 'secp256r1'

[X509]
CN = '{name}'
O = 'Example Company'
C = 'US'
email = 'hostmaster@example.com'
sans = [{sans}]
"""

AUTHORITY = "\n[CA]\nsign_end_days = {days}\ndigest = 'sha256'\n"


def write_site(top: Path, services: int) -> Path:
    """Write a configuration of that many services and two CAs below `top`; return conf.d."""
    conf = top / "conf.d"
    groups = {f"g{number}.example": 100 for number in range(services // 100)}
    if services % 100:
        groups["rest.example"] = services % 100
    (conf / "ca").mkdir(parents=True)
    listed = "".join(
        f"[[groups]]\nactive = true\ndomain = '{group}'\nservices = ['ALL']\n" for group in groups
    )
    (conf / "ssl-mgr.conf").write_text(
        "[globals]\nmin_roll_mins = 90\n"
        "[[groups]]\nactive = true\ndomain = 'ca'\nservices = ['my-root', 'my-int']\n" + listed
    )
    (conf / "ca-info.conf").write_text(
        "[my-root]\nca_desc = 'root'\nca_type = 'self'\n"
        "[my-int]\nca_desc = 'intermediate'\nca_type = 'local'\n"
    )
    for name, signer, days in (("my-root", "", 3650), ("my-int", "my-root", 90)):
        text = SERVICE.format(service=name, group="ca", ca=signer, name=name, sans="")
        (conf / "ca" / name).write_text(text + AUTHORITY.format(days=days))
    for group, number in groups.items():
        (conf / group).mkdir()
        for index in range(number):
            service = f"s{index:02d}"
            name = f"{service}.{group}"
            sans = f"'{name}', 'www.{name}', '*.{name}'"
            text = SERVICE.format(service=service, group=group, ca="my-int", name=name, sans=sans)
            (conf / group / service).write_text(text)
    return conf
