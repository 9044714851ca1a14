"""Addresses at CDNs, recomputed as the CDNs' documentation describes their check; and settings that do not fit."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as elliptic
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.gallery import check_store
from qwen_image_studio.gallery.cdn import open_cdn
from qwen_image_studio.gallery.direct import HOUR_S
from qwen_image_studio.settings import Settings

NOON = 1_800_000_000 // HOUR_S * HOUR_S
KEY = "2026/11/21/img_1.png"
OSS_A = {"cdn_url": "https://img.example.com", "cdn_signing": "oss-a", "cdn_key": "aliyuncdnexp1234"}


def settings(**values: object) -> Settings:
    """Settings of a server with a bucket."""
    return Settings.model_validate({"storage_url": "s3://pictures/studio?region=eu-central-1", **values})


def address(
    values: Mapping[str, object], now: float = NOON + 100, until: float = NOON + 7 * 86400, prefix: str = "studio/"
) -> str:
    """An address at the CDN of these settings."""
    cdn = open_cdn(settings(**values), prefix)
    assert cdn is not None
    found = cdn.of(KEY, until, now)
    assert found is not None
    assert now < found.expires_at <= until
    return found.url


def test_a_bare_address_is_the_files_own() -> None:
    assert address({"cdn_url": "https://img.example.com/"}) == f"https://img.example.com/studio/{KEY}"
    assert address({"cdn_url": "http://img.example.com/a"}, prefix="") == f"http://img.example.com/a/{KEY}"


def test_aliyun_type_a() -> None:
    """``md5(path-timestamp-rand-uid-key)``, as the CDN computes it."""
    split = urlsplit(address(OSS_A))
    [auth_key] = parse_qs(split.query)["auth_key"]
    timestamp, rand, uid, digest = auth_key.split("-")
    assert split.path == f"/studio/{KEY}"
    assert (int(timestamp), rand, uid) == (NOON + 2 * HOUR_S, "0", "0")
    text = "-".join([split.path, timestamp, rand, uid, "aliyuncdnexp1234"])
    assert digest == hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_aliyun_type_a_as_its_documentation_has_it() -> None:
    cdn = open_cdn(settings(**OSS_A | {"cdn_url": "http://cdn.example.com"}), "video/")
    assert cdn is not None
    found = cdn.of("standard/1K.html", 1_444_435_200, 1_444_435_000)
    assert found is not None
    told = "http://cdn.example.com/video/standard/1K.html?auth_key=1444435200-0-0-80cd3862d699b7118eed99103f2a3a4f"
    assert found.url == told


def pem(key: PrivateKeyTypes) -> str:
    """A private key as a file has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    """A key for CloudFront."""
    return rsa(65537, 2048)


@pytest.mark.parametrize("given", ["text", "one line", "file"])
def test_cloudfront(key: RSAPrivateKey, tmp_path: Path, given: str) -> None:
    """A canned policy: RSA over SHA-1 of the JSON without spaces, in CloudFront's own base64."""
    (tmp_path / "key.pem").write_text(pem(key))
    texts = {"text": pem(key), "one line": pem(key).replace("\n", "\\n"), "file": str(tmp_path / "key.pem")}
    signed = {"cdn_signing": "cloudfront", "cdn_key_id": "K2JCJMDEHXQW5F", "cdn_key": texts[given]}
    url = address({"cdn_url": "https://d111111abcdef8.cloudfront.net", **signed})
    base, _, query = url.partition("?")
    assert base == f"https://d111111abcdef8.cloudfront.net/studio/{KEY}"
    told = {name: values[0] for name, values in parse_qs(query).items()}
    assert told["Expires"] == str(NOON + 2 * HOUR_S)
    assert told["Key-Pair-Id"] == "K2JCJMDEHXQW5F"
    condition = {"DateLessThan": {"AWS:EpochTime": NOON + 2 * HOUR_S}}
    policy = json.dumps({"Statement": [{"Resource": base, "Condition": condition}]}, separators=(",", ":"))
    signature = base64.b64decode(told["Signature"].replace("-", "+").replace("_", "=").replace("~", "/"))
    key.public_key().verify(signature, policy.encode(), PKCS1v15(), SHA1())  # noqa: S303 - CloudFront's


def test_an_address_is_the_same_all_through_an_hour_and_ends_with_the_link() -> None:
    first, last = (address(OSS_A, now=NOON + second) for second in (0, HOUR_S - 1))
    assert first == last != address(OSS_A, now=NOON + HOUR_S)
    assert f"auth_key={NOON + 600}-" in address(OSS_A, until=NOON + 600)


CDN = {"cdn_url": "https://img.example.com"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"cdn_signing": "oss-a"}, "STUDIO_CDN_SIGNING is set without STUDIO_CDN_URL"),
        ({"cdn_key": "k"}, "STUDIO_CDN_KEY is set without STUDIO_CDN_URL"),
        ({"cdn_key_id": "k"}, "STUDIO_CDN_KEY_ID is set without STUDIO_CDN_URL"),
        ({"cdn_url": "img.example.com"}, "STUDIO_CDN_URL is no address"),
        ({"cdn_url": "https://img.example.com?a=b"}, "STUDIO_CDN_URL is no address"),
        ({"cdn_url": "https://[::1"}, "STUDIO_CDN_URL is no address"),
        ({**CDN, "storage_links": "through"}, "STUDIO_STORAGE_LINKS=through exclude each other"),
        ({**CDN, "cdn_key": "k"}, "STUDIO_CDN_KEY is set without STUDIO_CDN_SIGNING"),
        ({**CDN, "cdn_signing": "oss-a"}, "STUDIO_CDN_SIGNING=oss-a needs STUDIO_CDN_KEY"),
        ({**OSS_A, "cdn_key_id": "k"}, "STUDIO_CDN_KEY_ID is for STUDIO_CDN_SIGNING=cloudfront"),
        ({**CDN, "cdn_signing": "cloudfront", "cdn_key": "k"}, "needs STUDIO_CDN_KEY_ID"),
        ({**CDN, "cdn_signing": "cloudfront", "cdn_key": "/nowhere/k.pem", "cdn_key_id": "k"}, "is no private key"),
        ({**CDN, "cdn_signing": "cloudfront", "cdn_key": "-----BEGIN X", "cdn_key_id": "k"}, "is no private key"),
        (
            {**CDN, "cdn_signing": "cloudfront", "cdn_key": pem(elliptic(SECP256R1())), "cdn_key_id": "k"},
            "STUDIO_CDN_KEY is no RSA key",
        ),
        ({**CDN, "storage_url": "file:///srv/images"}, "STUDIO_CDN_URL needs an object store"),
        ({**CDN, "storage_url": ""}, "STUDIO_CDN_URL needs an object store"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if str(values.get("storage_url")).startswith("file"):
        values = {**values, "storage_url": f"file://{tmp_path}"}
    with pytest.raises(CannotServe, match=told):
        check_store(settings(data_dir=tmp_path, **values))


def test_without_settings_there_is_no_cdn() -> None:
    assert open_cdn(settings(), "") is None
