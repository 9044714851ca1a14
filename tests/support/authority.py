"""A certificate authority for one test: chains and keys with which pictures are signed, right ones and wrong ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from qwen_image_studio.credentials.certificate import CLAIM_SIGNING

DAY = timedelta(days=1)
_PEM = serialization.Encoding.PEM
KEYS = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True)
class Issued:
    """A chain and its key, as PEM."""

    chain: str
    key: str

    def settings(self, **more: str) -> dict[str, str]:
        """The settings that sign with it."""
        return {"c2pa_certificate": self.chain, "c2pa_key": self.key, **more}

    def files(self, folder: Path) -> dict[str, str]:
        """The same by files in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "chain.pem").write_text(self.chain)
        (folder / "key.pem").write_text(self.key)
        return {"c2pa_certificate": str(folder / "chain.pem"), "c2pa_key": str(folder / "key.pem")}


class Authority:
    """A root that readers are told to trust."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Throwaway root")
        built = _built(name, name, self._key.public_key(), _now() - 400 * DAY, _now() + 400 * DAY, is_authority=True)
        self.root = built.sign(self._key, hashes.SHA256()).public_bytes(_PEM).decode()
        self._issuer = x509.load_pem_x509_certificate(self.root.encode()).subject

    def issue(
        self,
        kind: str = "es256",
        *,
        purposes: Sequence[str] = (CLAIM_SIGNING,),
        days: tuple[float, float] = (-1, 365),
        with_root: bool = True,
        critical: bool = False,
    ) -> Issued:
        """A certificate for a new key, valid from and until so many days from now."""
        key = KEYS[kind]()
        begins, ends = (_now() + each * DAY for each in days)
        built = _built(_name("Throwaway signer"), self._issuer, key.public_key(), begins, ends)
        if purposes:
            usages = [x509.ObjectIdentifier(each) for each in purposes]
            built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
        named = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        leaf = built.add_extension(named, critical=False).sign(self._key, hashes.SHA256())
        return Issued(leaf.public_bytes(_PEM).decode() + (self.root if with_root else ""), _pem(key))


def self_signed() -> Issued:
    """A certificate that nobody has signed but itself."""
    key, name = KEYS["es256"](), _name("Nobody")
    built = _built(name, name, key.public_key(), _now() - DAY, _now() + DAY)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    made = built.add_extension(purpose, critical=False).sign(key, hashes.SHA256())
    return Issued(made.public_bytes(_PEM).decode(), _pem(key))


@cache
def authority() -> Authority:
    """The authority of this process's tests."""
    return Authority()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _name(common: str) -> x509.Name:
    parts = {NameOID.COMMON_NAME: common, NameOID.ORGANIZATION_NAME: "Throwaway"}
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts.items()])


def _pem(key: Any) -> str:
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return str(key.private_bytes(_PEM, *plain).decode())


def _built(
    subject: x509.Name, issuer: x509.Name, key: Any, begins: datetime, ends: datetime, *, is_authority: bool = False
) -> x509.CertificateBuilder:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = dict.fromkeys((*names, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    usage |= {"key_cert_sign": True, "crl_sign": True} if is_authority else {"digital_signature": True}
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    built = built.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    built = built.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return built.add_extension(x509.KeyUsage(**usage), critical=True)
