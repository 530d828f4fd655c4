"""ACME (RFC 8555) between the daemon and the network process: an operation for each step.

Each step can be repeated, and the process keeps nothing that is needed later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sslmd.net.link import Operation, message


@message
@dataclass(frozen=True, slots=True)
class CaAddress:
    """A CA's directory. `roots`: PEM to trust for it alone, "" for the system's own.

    `most`: requests that may be under way there at one time.
    """

    url: str
    roots: str = ""
    most: int = 8


@message
@dataclass(frozen=True, slots=True)
class AcmeAccount:
    """An account of ours. `key` is how the daemon knows its key, `uri` its URL at the CA."""

    key: str
    uri: str = ""


@message
@dataclass(frozen=True, slots=True)
class Subproblem:
    """One of the errors of which a CA's error consists (RFC 8555 §6.7.1)."""

    type: str = ""
    detail: str = ""
    name: str = ""


@message
@dataclass(frozen=True, slots=True)
class AcmeProblem:
    """Why a step did not come to its end.

    `kind`: `acme` (a problem document, RFC 7807), `http` (an error without one), `unreachable`
    (`type` is one of `core.failed.Failed`, `detail` words of the system), `nonsense` (an answer
    that is none), `late` (its time was over; how what was waited for stands is known to the CA).
    `new_account`: it was the answer to a request for an account. `retry_after` as it was sent.
    """

    kind: Literal["acme", "http", "unreachable", "nonsense", "late"]
    url: str = ""
    status: int = 0
    type: str = ""
    title: str = ""
    detail: str = ""
    instance: str = ""
    terms: tuple[str, ...] = ()
    subproblems: tuple[Subproblem, ...] = ()
    retry_after: str = ""
    new_account: bool = False
    unknown_root: bool = False


@message
@dataclass(frozen=True, slots=True)
class AcmeDirectory:
    """What a CA says of itself (RFC 8555 §7.1.1); () and "" where it says nothing."""

    new_order: str
    renewal_info: str = ""
    key_change: str = ""
    terms: str = ""
    caa_identities: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    wants_binding: bool = False


@message
@dataclass(frozen=True, slots=True)
class OfServer:
    """Asks for a CA's directory, which may take `seconds`, with all redirects.

    One that was fetched so many seconds ago (`age`) will do.
    """

    server: CaAddress
    seconds: float = 30.0
    age: float = 0.0


DIRECTORY: Operation[OfServer, AcmeDirectory | AcmeProblem] = Operation(
    "acme.directory", OfServer, AcmeDirectory | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class AskAccount:
    """Asks for an account (§7.3). `contact`: mailto URLs. `only_existing`: find it, make none.

    `binding_kid`: the key identifier of an external account, whose key the daemon has (§7.3.4).
    """

    server: CaAddress
    account: AcmeAccount
    contact: tuple[str, ...] = ()
    binding_kid: str = ""
    only_existing: bool = False


@message
@dataclass(frozen=True, slots=True)
class Account:
    """An account as the CA has it. `status`: `valid`, `deactivated`, `revoked`."""

    uri: str
    status: str
    contact: tuple[str, ...] = ()


REGISTER: Operation[AskAccount, Account | AcmeProblem] = Operation(
    "acme.register", AskAccount, Account | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class ChangeAccount:
    """Asks what an account is, or changes it (§7.3.2, §7.3.6). None leaves it as it is."""

    server: CaAddress
    account: AcmeAccount
    contact: tuple[str, ...] | None = None
    deactivate: bool = False


ACCOUNT: Operation[ChangeAccount, Account | AcmeProblem] = Operation(
    "acme.account", ChangeAccount, Account | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class ChangeKey:
    """Asks for another key of an account (§7.3.5). `new_key`: how the daemon knows the new one."""

    server: CaAddress
    account: AcmeAccount
    new_key: str


KEY_CHANGE: Operation[ChangeKey, Account | AcmeProblem] = Operation(
    "acme.key-change", ChangeKey, Account | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class AcmeOrder:
    """An order as the CA has it (§7.1.3); `status` as §7.1.6 names it.

    `problem`: why it became invalid. `replaces`: as the CA repeats it (RFC 9773 §5). `retry_after`:
    as it was sent, for an order that the CA is at work on. `profile`: where the CA says so.
    """

    url: str
    status: str
    names: tuple[str, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    problem: AcmeProblem | None = None
    replaces: str = ""
    retry_after: str = ""
    profile: str = ""


@message
@dataclass(frozen=True, slots=True)
class AskOrder:
    """Asks for an order of DNS names and IP addresses (RFC 8738). `replaces`: RFC 9773 §5."""

    server: CaAddress
    account: AcmeAccount
    names: tuple[str, ...]
    profile: str = ""
    replaces: str = ""


NEW_ORDER: Operation[AskOrder, AcmeOrder | AcmeProblem] = Operation(
    "acme.new-order", AskOrder, AcmeOrder | AcmeProblem, repeatable=False
)


@message
@dataclass(frozen=True, slots=True)
class FindOrder:
    """Asks whether an account has an order for these names that waits for us (§7.1.2.1).

    () where there is none, or the CA lists no orders. `seconds`: how long is looked.
    """

    server: CaAddress
    account: AcmeAccount
    names: tuple[str, ...]
    profile: str = ""
    seconds: float = 60.0


FIND_ORDER: Operation[FindOrder, tuple[AcmeOrder, ...] | AcmeProblem] = Operation(
    "acme.find-order", FindOrder, tuple[AcmeOrder, ...] | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class OfOrder:
    """Asks for an order by its URL."""

    server: CaAddress
    account: AcmeAccount
    url: str


ORDER: Operation[OfOrder, AcmeOrder | AcmeProblem] = Operation(
    "acme.order", OfOrder, AcmeOrder | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class AcmeChallenge:
    """One way to validate a name (§8): `dns-01` and `http-01` are of use here."""

    type: str
    url: str
    token: str
    status: str


@message
@dataclass(frozen=True, slots=True)
class Authorization:
    """What a CA wants to be shown for one name (§7.1.4); `name` without the star of a wildcard."""

    url: str
    name: str
    status: str
    wildcard: bool = False
    challenges: tuple[AcmeChallenge, ...] = ()
    problem: AcmeProblem | None = None


@message
@dataclass(frozen=True, slots=True)
class OfAuthorizations:
    """Asks for authorizations by their URLs."""

    server: CaAddress
    account: AcmeAccount
    urls: tuple[str, ...]


AUTHORIZATIONS: Operation[OfAuthorizations, tuple[Authorization, ...] | AcmeProblem] = Operation(
    "acme.authorizations", OfAuthorizations, tuple[Authorization, ...] | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class Offer:
    """Offers challenges for validation (§7.5.1), and waits until the CA has judged them all.

    `challenges`: URLs to say it of; those that were offered before are left out. `authorizations`:
    those to wait for, `seconds` at most.
    """

    server: CaAddress
    account: AcmeAccount
    challenges: tuple[str, ...]
    authorizations: tuple[str, ...]
    seconds: float


OFFER: Operation[Offer, tuple[Authorization, ...] | AcmeProblem] = Operation(
    "acme.offer", Offer, tuple[Authorization, ...] | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class Finalize:
    """Hands in the CSR (DER; §7.4) of an order that is ready, and waits `seconds` for the CA.

    What is at work already is only waited for.
    """

    server: CaAddress
    account: AcmeAccount
    order: str
    csr: bytes
    seconds: float


FINALIZE: Operation[Finalize, AcmeOrder | AcmeProblem] = Operation(
    "acme.finalize", Finalize, AcmeOrder | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class Fetch:
    """Asks for the certificate at a URL (§7.4.2). `alternates`: other chains to it as well."""

    server: CaAddress
    account: AcmeAccount
    url: str
    alternates: bool = False


@message
@dataclass(frozen=True, slots=True)
class Chains:
    """A certificate with its chain, PEM, the CA's own choice first."""

    chains: tuple[str, ...]


CERTIFICATE: Operation[Fetch, Chains | AcmeProblem] = Operation(
    "acme.certificate", Fetch, Chains | AcmeProblem
)


@message
@dataclass(frozen=True, slots=True)
class OfCertificate:
    """Asks when a certificate is to be renewed (RFC 9773 §4.1). `ident`: how it is named there."""

    server: CaAddress
    ident: str


@message
@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """What a CA suggests (RFC 9773 §4.2): seconds since 1970, UTC. `explanation`: a URL, or ""."""

    start: float
    end: float
    explanation: str = ""
    retry_after: str = ""


RENEWAL_INFO: Operation[OfCertificate, RenewalInfo | AcmeProblem] = Operation(
    "acme.renewal-info", OfCertificate, RenewalInfo | AcmeProblem
)
