"""The operator's certificate chain and private key: read, held against each other, and against what C2PA asks of them.

Messages name settings, subjects and dates, and never anything of the key.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.settings import Settings

CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"
"""Purpose of a certificate that C2PA made for itself; its conformance programme asks for it."""
PURPOSES = {
    CLAIM_SIGNING: "C2PA claim signing",
    "1.3.6.1.5.5.7.3.4": "e-mail protection",
    "1.3.6.1.5.5.7.3.36": "document signing",
    "1.3.6.1.4.1.311.76.59.1.9": "Microsoft's C2PA signing",
}
"""Purposes (extended key usages) with which a certificate may sign pictures, by their object identifiers."""
_ANY_PURPOSE = "2.5.29.37.0"
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_LEAST_RSA_BITS = 2048
_KINDS = "an EC key (P-256, P-384, P-521), an Ed25519 key, or an RSA key of 2048 bits or more"


@dataclass(frozen=True)
class Certificate:
    """A chain and its private key, which belong together."""

    chain: str
    """PEM, the signer's own certificate first."""
    key: str = field(repr=False)
    """PEM of the private key, PKCS #8 without a password."""
    algorithm: str
    """The signature's, as C2PA names it: `es256`, `es384`, `es512`, `ps256` or `ed25519`."""
    subject: str
    """Whom readers name as the signer."""
    begins: datetime
    ends: datetime
    """From when to when it may sign, in UTC."""
    faults: Sequence[str] = ()
    """What C2PA would refuse it for, whatever the time, each as a clause."""

    def refused(self, now: datetime) -> str | None:
        """Return why it may not sign at that time; None where it may."""
        if now < self.begins:
            begins, told = f"{self.begins:%Y-%m-%d %H:%M} UTC", f"{now:%Y-%m-%d %H:%M}"
            return f"it is not valid before {begins}, and this machine's clock says {told}"
        if now > self.ends:
            return f"it has expired on {self.ends:%Y-%m-%d %H:%M} UTC"
        return self.faults[0] if self.faults else None


def now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


def read_certificate(settings: Settings) -> Certificate:
    """Return the certificate that the settings name. Raises CannotServe where chain or key cannot be read, do not
    belong together, or the package that reads them is missing.
    """
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise missing(error) from error
    chain, key = _chain(settings.c2pa_certificate), _key(settings.c2pa_key.get_secret_value())
    pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    own, named = (each.public_key().public_bytes(pem, form) for each in (key, chain[0]))
    if own != named:
        raise CannotServe(
            "STUDIO_C2PA_KEY is not the key of the first certificate in STUDIO_C2PA_CERTIFICATE; set both to files "
            "that belong together."
        )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(
        chain="".join(each.public_bytes(pem).decode() for each in chain),
        key=key.private_bytes(pem, *plain).decode(),
        algorithm=_algorithm(key),
        subject=chain[0].subject.rfc4514_string(),
        begins=chain[0].not_valid_before_utc,
        ends=min(each.not_valid_after_utc for each in chain),
        faults=tuple(_faults(chain)),
    )


def _chain(value: str) -> Sequence[Any]:
    from cryptography import x509

    text = pem_of(value, "STUDIO_C2PA_CERTIFICATE", "a certificate chain")
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise CannotServe(
            "STUDIO_C2PA_CERTIFICATE is no certificate chain; set it to a PEM with the signer's certificate first, or "
            "to the path of its file."
        ) from None


def _key(value: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = pem_of(value, "STUDIO_C2PA_KEY", "a private key")
    try:
        return load_pem_private_key(text, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it needs a password
        raise CannotServe(
            f"STUDIO_C2PA_KEY is no private key ({type(error).__name__}); set it to a PEM without a password, or to "
            "the path of its file."
        ) from None


def signer(settings: Settings) -> str:
    """Return what tells the settings' signer from others: a hash of the certificate, and whether there are time-stamps;
    empty without one. It needs no package and no key, and is the same on all hosts.
    """
    if not settings.c2pa_certificate:
        return ""
    try:
        told = hashlib.sha256(pem_of(settings.c2pa_certificate, "STUDIO_C2PA_CERTIFICATE", "a certificate")).hexdigest()
    except CannotServe:  # it was there at the start
        told = settings.c2pa_certificate
    return f"{told} {'stamped' if settings.c2pa_tsa_url else ''}".rstrip()


def missing(error: ImportError) -> CannotServe:
    """Return the error for a package that content credentials need."""
    return CannotServe(
        f"STUDIO_C2PA_CERTIFICATE needs {error.name}, which is not installed; pip install "
        "'qwen-image-studio[credentials]'."
    )


def pem_of(value: str, name: str, what: str) -> bytes:
    """Return a PEM that a setting has itself, in which newlines may be written as backslash and n, or the file of it.
    Raises CannotServe.
    """
    if "-----BEGIN" in value:
        return value.replace("\\n", "\n").encode()
    try:
        return Path(value).read_bytes()
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or type(error).__name__
        raise CannotServe(
            f"{name} names no file with {what} ({cause}); correct the path, or set it to a PEM."
        ) from None


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    found = ""
    if isinstance(key, EllipticCurvePrivateKey):
        found = _CURVES.get(key.curve.name, "")
    elif isinstance(key, Ed25519PrivateKey):
        found = "ed25519"
    elif isinstance(key, RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        found = "ps256"
    if not found:
        raise CannotServe(f"STUDIO_C2PA_KEY is of a kind that content credentials do not know; take {_KINDS}.")
    return found


def _faults(chain: Sequence[Any]) -> Iterator[str]:
    """Yield what is wrong with a chain beyond its dates."""
    from cryptography.exceptions import InvalidSignature

    leaf = chain[0]
    if len(chain) == 1 and leaf.issuer == leaf.subject:
        yield "it signs itself; a certificate authority has to sign it, one of your own will do for a trial"
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            yield f"its chain is broken: {lower.subject.rfc4514_string()} is not signed by the certificate after it"
    yield from _faults_of_purpose(leaf)


def _faults_of_purpose(leaf: Any) -> Iterator[str]:
    from cryptography import x509

    def extension(kind: Any) -> Any:
        try:
            return leaf.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    basic, usage = extension(x509.BasicConstraints), extension(x509.KeyUsage)
    if basic is not None and basic.ca:
        yield "it is a certificate authority's; the signer's own certificate has to come first in the file"
    if usage is None or not usage.digital_signature:
        yield "its key usage lacks digitalSignature"
    purposes = {each.dotted_string for each in extension(x509.ExtendedKeyUsage) or ()}
    if _ANY_PURPOSE in purposes:
        yield "its extended key usage allows any purpose, which C2PA forbids"
    elif not purposes & PURPOSES.keys():
        yield f"its extended key usage has none of {', '.join(PURPOSES.values())}"
