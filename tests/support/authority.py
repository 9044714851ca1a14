"""A certificate authority for one run of tests: chains and keys with which pictures are signed, right ones and wrong
ones; c2pa's own reader, which trusts it; and authorities that stamp the time, or keep silent.
"""

import json
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from qwen_image_studio.credentials.certificate import CLAIM_SIGNING, PURPOSES
from qwen_image_studio.settings import Settings
from tests.support.loopback import LoopbackServer

EMAIL, TLS, TIME_STAMPING = "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.8"
"""Purposes of certificates."""
DAY = timedelta(days=1)
_PEM = serialization.Encoding.PEM
KEYS: Mapping[str, Callable[[], Any]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ps256": cache(lambda: rsa.generate_private_key(65537, 2048)),  # which takes a second
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True)
class Issued:
    """A chain and its key, as PEM."""

    chain: str
    key: str

    def settings(self, base: Settings, **more: Any) -> Settings:
        """Settings that sign with it."""
        return base.model_copy(update={"c2pa_certificate": self.chain, "c2pa_key": SecretStr(self.key), **more})

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
    purpose = x509.ExtendedKeyUsage([x509.ObjectIdentifier(EMAIL)])
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


# -- what readers see ----------------------------------------------------------------------------------------------


def seen(data: bytes, mime_type: str) -> dict[str, Any] | None:
    """What c2pa's reader says of a file where it trusts the authority; None where there are no credentials in it."""
    trust = {"trust_anchors": authority().root, "trust_config": "\n".join(PURPOSES)}
    context = c2pa.Context.from_dict({"trust": trust, "verify": {"verify_trust": True, "remote_manifest_fetch": False}})
    reader = c2pa.Reader.try_create(mime_type, BytesIO(data), context=context)
    if reader is None:
        return None
    with reader:
        return dict(json.loads(reader.json()))


def active(said: dict[str, Any] | None) -> dict[str, Any]:
    """The manifest of the file itself, not of what it was made from; it has to be trusted."""
    assert said is not None
    assert said["validation_state"] == "Trusted", said.get("validation_status")
    return dict(said["manifests"][said["active_manifest"]])


def actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The actions of a manifest."""
    [found] = [each for each in manifest["assertions"] if each["label"].startswith("c2pa.actions")]
    return list(found["data"]["actions"])


# -- time-stamps ---------------------------------------------------------------------------------------------------


class TimeStamps(LoopbackServer):
    """A time-stamping authority: openssl's own answers, by a certificate of the authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        issued = authority().issue("ps256", purposes=(TIME_STAMPING,), critical=True)
        issued.files(folder)
        (folder / "signer.pem").write_text(issued.chain.removesuffix(authority().root))
        (folder / "root.pem").write_text(authority().root)
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(
            f"[tsa]\ndefault_tsa = t\n[t]\nserial = {folder}/serial\ndefault_policy = 1.2.3.4.1\n"
            "digests = sha256, sha384, sha512\nsigner_digest = sha256\n"
        )
        super().__init__()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Stamp what was asked."""
        (self._folder / "query").write_bytes(handler.rfile.read(int(handler.headers["Content-Length"])))
        files = {"-queryfile": "query", "-signer": "signer.pem", "-inkey": "key.pem", "-chain": "root.pem"}
        named = [word for option, name in files.items() for word in (option, str(self._folder / name))]
        command = ["openssl", "ts", "-reply", "-config", str(self._folder / "tsa.cnf"), "-section", "t", *named]
        answer = subprocess.run(command, check=True, capture_output=True).stdout
        handler.send_response(200)
        handler.send_header("Content-Type", "application/timestamp-reply")
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)


class Silence:
    """An address that takes connections and never answers; use it as a context manager."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def await_call(self, timeout_s: float = 240.0) -> None:
        """Wait until somebody has asked."""
        self._listener.settimeout(timeout_s)
        self._taken.append(self._listener.accept()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (*self._taken, self._listener):
            each.close()
