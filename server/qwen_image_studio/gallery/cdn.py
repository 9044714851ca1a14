"""Addresses at a content delivery network (CDN) that stands before the bucket, signed where the bucket is private."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.storage import CdnSigning, StorageLinks
from qwen_image_studio.gallery.direct import Address, this_hour
from qwen_image_studio.gallery.names import check_key
from qwen_image_studio.settings import Settings

Sign = Callable[[str, int], str]
"""A function that returns an address with what lets it through until a Unix second."""


class Cdn:
    """The addresses of files at one CDN."""

    def __init__(self, base: str, sign: Sign) -> None:
        """`base` is what all addresses begin with, up to the slash before the key."""
        self._base, self._sign = base, sign

    def of(self, key: str, until: float, now: float) -> Address | None:
        """Return an address of the file. One that nobody signs works for ever."""
        _, end = this_hour(now, until)
        return Address(self._sign(f"{self._base}{check_key(key)}", end), end)


def open_cdn(settings: Settings, prefix: str) -> Cdn | None:
    """Return the CDN that the settings name, before a bucket in which all keys begin with `prefix`; None where they
    name none. Raises CannotServe for settings that do not go together.
    """
    _check(settings)
    if not settings.cdn_url:
        return None
    return Cdn(f"{settings.cdn_url.rstrip('/')}/{prefix}", _SIGNERS[settings.cdn_signing](settings))


def _check(settings: Settings) -> None:
    key, signing = settings.cdn_key.get_secret_value(), settings.cdn_signing
    if not settings.cdn_url:
        for name, value in {"SIGNING": signing, "KEY": key, "KEY_ID": settings.cdn_key_id}.items():
            if value:
                raise CannotServe(f"STUDIO_CDN_{name} is set without STUDIO_CDN_URL; set the CDN's address too.")
        return
    _check_url(settings.cdn_url)
    if settings.storage_links is StorageLinks.THROUGH:
        raise CannotServe(
            "STUDIO_CDN_URL and STUDIO_STORAGE_LINKS=through exclude each other: links lead to the CDN, or through the "
            "server; take one of them out."
        )
    if bool(key) != bool(signing):
        raise CannotServe(
            "STUDIO_CDN_KEY is set without STUDIO_CDN_SIGNING; set it to oss-a or cloudfront, or take the key out."
            if key
            else f"STUDIO_CDN_SIGNING={signing.value} needs STUDIO_CDN_KEY; set it."
        )
    if bool(settings.cdn_key_id) != (signing is CdnSigning.CLOUDFRONT):
        raise CannotServe(
            "STUDIO_CDN_KEY_ID is for STUDIO_CDN_SIGNING=cloudfront; take it out, or set that."
            if settings.cdn_key_id
            else "STUDIO_CDN_SIGNING=cloudfront needs STUDIO_CDN_KEY_ID, the id of the public key; set it."
        )


def _check_url(url: str) -> None:
    try:
        split = urlsplit(url)
        if split.scheme in {"http", "https"} and split.hostname and not (split.query or split.fragment or "@" in url):
            return
    except ValueError:
        pass
    raise CannotServe("STUDIO_CDN_URL is no address of a CDN; write one such as https://images.example.com.")


def _unsigned(_: Settings) -> Sign:
    return lambda url, _: url


def _oss_a(settings: Settings) -> Sign:
    """Sign as Aliyun's CDN checks it, type A. Addresses work until `end` and for the validity time that the CDN is set
    to, half an hour unless somebody changed it, since that is counted from the time in the address.
    """
    key = settings.cdn_key.get_secret_value()

    def sign(url: str, end: int) -> str:
        beginning = f"{end}-0-0"  # time, random number, user; the number is fixed, so that addresses can be cached
        digest = hashlib.md5(f"{urlsplit(url).path}-{beginning}-{key}".encode(), usedforsecurity=False).hexdigest()
        return f"{url}?auth_key={beginning}-{digest}"

    return sign


def _cloudfront(settings: Settings) -> Sign:
    """Sign with a canned policy, as CloudFront checks it (RSA and SHA-1). Raises CannotServe for a key that is none."""
    try:
        from botocore.signers import CloudFrontSigner
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA1
    except ImportError as error:
        raise CannotServe(
            f"STUDIO_CDN_SIGNING=cloudfront needs {error.name}, which is not installed; pip install "
            "'qwen-image-studio[s3]'."
        ) from error
    private = _private_key(settings.cdn_key.get_secret_value())
    signer = CloudFrontSigner(settings.cdn_key_id, lambda policy: private.sign(policy, PKCS1v15(), SHA1()))  # noqa: S303 - CloudFront's

    def sign(url: str, end: int) -> str:
        return str(signer.generate_presigned_url(url, date_less_than=datetime.fromtimestamp(end, UTC)))

    return sign


def _private_key(text: str) -> Any:
    """Return the RSA key of a PEM text, in which newlines may be written as backslash and n, or of a file with one."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        pem = text.replace("\\n", "\n").encode() if "-----BEGIN" in text else Path(text).read_bytes()
        key = load_pem_private_key(pem, password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it needs a password
        raise CannotServe(
            f"STUDIO_CDN_KEY is no private key ({type(error).__name__}); set it to a PEM without a password, or to the "
            "path of its file."
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise CannotServe("STUDIO_CDN_KEY is no RSA key, which CloudFront's signed links need.")
    return key


_SIGNERS: dict[CdnSigning, Callable[[Settings], Sign]] = {
    CdnSigning.NONE: _unsigned,
    CdnSigning.OSS_A: _oss_a,
    CdnSigning.CLOUDFRONT: _cloudfront,
}
