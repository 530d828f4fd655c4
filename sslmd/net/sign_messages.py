"""What the network process asks of the daemon about ACME: signatures, for it has no key (I13)."""

from __future__ import annotations

from dataclasses import dataclass

from sslmd.net.link import Operation, message


@message
@dataclass(frozen=True, slots=True)
class AskSignature:
    """Asks for the signature of a request (§6.2). `payload`: base64url, as it is sent.

    `uri`: the account's URL, "" for its public key in place of it. `nonce` "": an inner signature
    (§7.3.5), or with `binding_kid` that of an external account (§7.3.4).
    """

    server: str
    key: str
    url: str
    payload: str
    nonce: str = ""
    uri: str = ""
    binding_kid: str = ""


@message
@dataclass(frozen=True, slots=True)
class Signature:
    """A signature with its protected header, base64url; "" if the daemon does not give one."""

    protected: str = ""
    signature: str = ""


SIGN: Operation[AskSignature, Signature] = Operation("sign", AskSignature, Signature)


@message
@dataclass(frozen=True, slots=True)
class OfKey:
    """Asks for the public half of an account's key, as JWK (RFC 7517): for a change of keys."""

    key: str


@message
@dataclass(frozen=True, slots=True)
class PublicKey:
    """A JWK as JSON text."""

    jwk: str


PUBLIC_KEY: Operation[OfKey, PublicKey] = Operation("public-key", OfKey, PublicKey)
