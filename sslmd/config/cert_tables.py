"""What `ca-info.conf` and the service files may hold, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainValidator

from sslmd.config import rates, values
from sslmd.config.addresses import directory_url
from sslmd.config.kinds import CaAccount, CaKind, Engines, UsedBy, Validation
from sslmd.config.table import (
    NESTED,
    NEXT_KEY,
    NUMBER,
    RENEW_BY,
    RENEW_DAYS,
    SINGLE,
    SPREAD_DAYS,
    Label,
    NextKeyWord,
    RenewByWord,
    Table,
    Text,
    Windows,
    described,
    key,
    path_key,
    table,
    words,
)
from sslmd.core.buckets import LETS_ENCRYPT, LETS_ENCRYPT_STAGING, CaLimit, Rate, Rates, rates_of
from sslmd.core.dane.tlsa import DaneEntry
from sslmd.core.names import SanName
from sslmd.core.spec import KeyType

EXT_KEY_USAGES = ("serverAuth", "clientAuth", "emailProtection", "codeSigning", "timeStamping")


def _small_rsa(value: Any) -> Any:
    if isinstance(value, str) and value.lower() == KeyType.RSA and value != KeyType.RSA:
        raise values.wrong(
            f"ssl-mgr takes {values.seen(value)} for ec: it knows 'rsa' in small letters alone",
            f"{values.one_of(KeyType)}, whichever the key in use is",
        )
    return value


def _bits(value: Any) -> int:
    bits = values.number(value)
    if type(bits) is not int or not 2048 <= bits <= 8192 or bits % 8:
        raise values.wrong(
            f"{values.seen(value)} is not a length for an RSA key", "write 2048, 3072 or 4096"
        )
    return bits


_SAME = " (or 'letsencrypt', which is the same)"
# ssl-mgr has none for its own CAs, and takes the words without their version as well.
_VALIDATIONS = {"": Validation.DNS_01, "dns": Validation.DNS_01, "http": Validation.HTTP_01}
Url = Annotated[str, PlainValidator(directory_url)]
Limits = Annotated[tuple[tuple[CaLimit, Rate | None], ...], PlainValidator(rates.limits)]


def _or(default: str) -> Callable[[str, str], str]:
    return lambda url, _: url or default


@table(without_effect={"ca_name": ("the CA's name is that of its table", "remove it")})
class CaInfo:
    """One table of `ca-info.conf`. The ACME keys mean something for `CaKind.ACME` only.

    Empty texts and None stand for "not asked for". `server_root` and `test_server_root` are
    PEM bundles to trust for the CA's own HTTPS. `eab_hmac_key_file` is named, never read here.
    """

    name: str
    kind: Annotated[CaKind, words(CaKind, {"letsencrypt": CaKind.ACME}, _SAME)] = key(
        "`self`, `local`, `certbot`",
        "`self` or `local`: the site's own CA, with a service file of the same name in group "
        "`ca`. `certbot` (or `letsencrypt`): an ACME CA.",
        name="ca_type",
    )
    description: Text = key("text", "What this CA is for.", default="", name="ca_desc")
    validation: Annotated[Validation, words(Validation, _VALIDATIONS)] = key(
        "`dns-01` or `http-01`",
        "How an ACME CA checks the names.",
        default=Validation.DNS_01,
        name="ca_validation",
    )
    preferred_chain: Label = key(
        "text",
        "The common name of the root whose chain is preferred, if the CA offers several.",
        default="",
        shown="the CA's own choice",
        name="ca_preferred_chain",
    )
    preferred_profile: Label = key(
        "text",
        "The ACME profile to ask for, if the CA has it: at Let's Encrypt `classic`, `tlsserver`, "
        "`shortlived`.",
        default="",
        shown="the CA's own choice",
        name="ca_preferred_acme_profile",
    )
    server: Url = key(
        "URL",
        "The ACME directory: `https`, host, port and path, nothing else. `http` is only for a "
        "server on this machine.",
        default="",
        shown=f"<{LETS_ENCRYPT}>",
        name="ca_server",
        to=_or(LETS_ENCRYPT),
    )
    server_root: Path | None = path_key(
        "PEM file with the roots to trust for `ca_server`: for private and test CAs.",
        shown="the system's",
        name="ca_server_root",
    )
    test_server: Url = key(
        "URL",
        "The ACME directory that `--test` and `--dry-run` use. Without it they are refused for "
        "every CA but Let's Encrypt.",
        default="",
        shown=f"<{LETS_ENCRYPT_STAGING}>",
        name="ca_test_server",
        to=_or(LETS_ENCRYPT_STAGING),
    )
    test_server_root: Path | None = path_key(
        "PEM file with the roots to trust for `ca_test_server`.",
        shown="the system's",
        name="ca_test_server_root",
    )
    eab_kid: Label = key(
        "text",
        "Key identifier for CAs that bind accounts (EAB).",
        default="",
        shown="none",
        name="ca_eab_kid",
    )
    eab_hmac_key_file: Path | None = path_key(
        "File with the EAB key, bare base64url.", shown="none", name="ca_eab_hmac_key_file"
    )
    account: Annotated[CaAccount, words(CaAccount)] = key(
        "`shared` or `own`",
        "Whether certificates share one account at the CA, or each has its own. Where a "
        "certificate has an account of its own already, it goes on with it until `sslmctl account "
        "share`.",
        default=CaAccount.SHARED,
        name="ca_account",
    )
    engine: Annotated[Engines, words(Engines)] = key(
        "`engine` or `certbot`",
        "What speaks to the CA: sslmd's own network process, for a thousand orders at a time, or "
        "a certbot for each order.",
        default=Engines.ENGINE,
        name="ca_engine",
    )
    requests: Annotated[int, NUMBER] = key(
        "number",
        "Requests that the engine has under way at the CA at one time.",
        default=8,
        ge=1,
        le=32,
        name="ca_requests",
    )
    limits: Limits = key(
        "table",
        "Limits of the CA that are kept to, as `{ orders = '300/3h', names = 'none' }`: `accounts` "
        "(new accounts), `orders` (new orders of an account), `failed` (failed validations of a "
        "name; one less is used), `names` (certificates for exactly the same names) and `domain` "
        "(certificates of a zone of ours, which stands for the registered domain). Units are `s`, "
        "`min`, `h`, `d`; `'none'` or `0` takes a limit away.",
        default=(),
        shown="Let's Encrypt's for its own directories; for others `failed = '5/1h'` alone",
        name="ca_limits",
    )
    test_limits: Limits = key(
        "table",
        "The same for the server that `--dry-run` and `--test` use.",
        default=(),
        shown="as `ca_limits`, for its directory",
        name="ca_test_limits",
    )

    @property
    def kept(self) -> Rates:
        """The limits that are kept to."""
        return rates_of(self.server, dict(self.limits))

    @property
    def test_kept(self) -> Rates:
        """The limits of its test server."""
        return rates_of(self.test_server, dict(self.test_limits))

    @property
    def is_own(self) -> bool:
        """Whether it is a CA of the site's own."""
        return self.kind is not CaKind.ACME


class KeyTable(Table):
    """`[KeyOpts]` of a service file."""

    ktype: Annotated[KeyType, words(KeyType), BeforeValidator(_small_rsa)] = described(
        "`ec` or `rsa`", "The kind of key.", default=KeyType.EC
    )
    ec_algo: Annotated[str, words(["secp256r1", "secp384r1", "secp521r1"])] = described(
        "`secp256r1`, `secp384r1`, `secp521r1`", "The curve of an EC key.", default="secp384r1"
    )
    rsa_bits: Annotated[int | None, PlainValidator(_bits)] = described(
        "bits, 2048 to 8192", "The length of an RSA key.", default=None, shown="4096"
    )
    without_effect: ClassVar[Mapping[str, tuple[str, str]]] = {
        "bits": (
            "it has no effect, as in ssl-mgr: rsa_bits is the length of an RSA key, 4096 where it "
            "is missing",
            "remove it, or write rsa_bits if you want another length",
        )
    }


class NameTable(Table):
    """`[X509]` of a service file."""

    CN: Label = described(
        "text", "Common name. A host name here is one of the names asked for.", default=""
    )
    O: Label = described("text", "Organization.", default="")  # noqa: E741
    OU: Label = described("text", "Organizational unit.", default="")
    L: Label = described("text", "Locality (city).", default="")
    ST: Label = described("text", "State or province.", default="")
    C: Label = described("text", "Country, two letters.", default="")
    email: Label = described(
        "text",
        "Mail address: given to an ACME CA as contact; for the site's own CA put into the subject, "
        "and with `emailProtection` in `ext_key_usage` into the names.",
        default="",
    )
    sans: Annotated[list[Annotated[SanName, PlainValidator(values.san)]], SINGLE] = described(
        "list of names",
        "Subject alternative names: DNS names, wildcards, IPv4 and IPv6 addresses.",
        default=(),
    )
    ext_key_usage: Annotated[list[Annotated[str, words(EXT_KEY_USAGES)]], SINGLE] = described(
        "list of names of RFC 5280",
        "What the certificate may be used for, if the site's own CA signs it: `serverAuth`, "
        "`clientAuth`, `emailProtection`, `codeSigning`, `timeStamping`. Public CAs decide "
        "themselves.",
        default=("serverAuth", "clientAuth"),
    )


class CaOptionsTable(Table):
    """`[CA]` of a service file of group `ca`."""

    sign_end_days: int | None = described(
        "days",
        "Life of what this CA signs, a root's own certificate included; nothing outlives its "
        "signer. Apple's devices refuse servers' certificates of more than 825 days.",
        default=None,
        shown="root: 3650; a CA that signs CAs: 1825; other: 90",
        ge=1,
        le=36_500,
    )
    digest: Annotated[str, PlainValidator(values.digest)] = described(
        "`sha256`, `sha384`, `sha512`",
        "The hash that this CA signs with. `sha224`, `sha3_224`, `sha3_256`, `sha3_384` and "
        "`sha3_512` can be asked for as well, but many clients do not verify them.",
        default=values.DEFAULT_DIGEST,
    )


_SERVERS_NAME_IT = "; servers are named in svc_depends of their class"


class ServiceFile(Table):
    """A service file."""

    name: Label = described("text", "A title for people.", default="", shown="`<group>/<service>`")
    group: Text = described("text", "The group: the name of the folder the file is in.")
    service: Text = described("text", "The service: the name of the file; not `dh`.")
    signing_ca: Label | None = described(
        "text",
        "The table of `ca-info.conf` that tells who signs. For a root of group `ca`: `self` (or "
        "`''`), it signs itself.",
        default=None,
        shown="**required**; in group `ca`: `self`",
    )
    renew_expire_days: Annotated[float | None, NUMBER] = described(
        "days", RENEW_DAYS, default=None, shown="as in `[globals]`", ge=0, le=3650
    )
    renew_expire_days_spread: Annotated[float | None, NUMBER] = described(
        "days", SPREAD_DAYS, default=None, shown="as in `[globals]`", ge=0, le=3650
    )
    renew_by: RenewByWord | None = described(
        "`ca` or `days`", RENEW_BY, default=None, shown="as in `[globals]`"
    )
    dane_tls: Annotated[list[Annotated[DaneEntry | None, PlainValidator(values.dane)]], NESTED] = (
        described(
            "list of `[port, proto, usage, selector, match, hosts]`",
            "Ports that serve this certificate and have TLSA records (RFC 6698) for it; `[25, "
            "'tcp', 3, 1, 1]` is right for most. The sixth element, which may be left out, tells "
            "whose records: `'MX'` (the zone itself and its MX hosts), `'SANS'` (the DNS names of "
            "the certificate inside the zone) or a list of hosts of the zone. Without it port 25 "
            "has `'MX'`, and other ports `'SANS'`, with a warning, because versions of ssl-mgr "
            "differ there. The zone has to be signed (DNSSEC). Certificates that share a port all "
            "get records of every combination that one of them asks for.",
            default=(),
        )
    )
    dane_tls_ttl: int = described(
        "seconds",
        "TTL of the TLSA records. A roll waits for twice this; after a change to less, for twice "
        "the older one as long as caches may go by it. Of certificates that share a port the "
        "smallest counts. 0 stands for 1800.",
        default=1800,
        ge=0,
        le=604_800,
    )
    dane_next_key: NextKeyWord | None = described(
        "`at-renew` or `at-roll`", NEXT_KEY, default=None, shown="as in `[globals]`"
    )
    roll_window: Windows = described(
        "list of windows",
        "Times when the certificate may be rolled, as `'Sat 02:00-05:00 Europe/Berlin'`; see the "
        "server classes. Those of every class that uses it have to be open as well.",
        default=(),
        shown="at any time",
    )
    restart_window: Windows = described(
        "list of windows",
        "Times when servers may be restarted for this certificate, written like `roll_window`. "
        "That of their class has to be open as well.",
        default=(),
        shown="at any time",
    )
    used_by: Annotated[UsedBy | None, words(UsedBy, hint=_SERVERS_NAME_IT)] = described(
        "`'none'`",
        "`'none'`: no server class is to use this certificate; it is read from the production tree "
        "by other means. Without it, a certificate that no class with servers uses is reported: "
        "nobody would be restarted when it is renewed. CAs need no server.",
        default=None,
        shown="the classes whose `svc_depends` names it",
    )
    KeyOpts: KeyTable = described("table", "The key.", default=KeyTable())
    X509: NameTable = described("table", "What the certificate says.", default=NameTable())
    CA: CaOptionsTable | None = described(
        "table", "For services of group `ca`: how it signs.", default=None
    )


_OWN = ("ssl-mgr sets it by itself; it has no effect here", "remove it")
ServiceFile.without_effect = dict.fromkeys(("file", "debug", "okay", "opts", "ftime_ns"), _OWN)
NameTable.without_effect = {"file": _OWN}

_TOP = dict.fromkeys(ServiceFile.model_fields, "at the top of the file, before the first [table]")
SERVICE_TABLES: dict[str, type[Table]] = {
    "KeyOpts": KeyTable,
    "X509": NameTable,
    "CA": CaOptionsTable,
}
_INSIDE = {
    key: f"in [{name}]" for name, part in SERVICE_TABLES.items() for key in part.model_fields
}
ServiceFile.homes = _INSIDE
for _part in SERVICE_TABLES.values():
    _part.homes = _INSIDE | _TOP
