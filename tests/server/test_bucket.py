"""STUDIO_STORAGE_URL of an object store: what is read of it, and what is said of mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.gallery.bucket import Bucket, Style, bucket_of
from qwen_image_studio.gallery.s3 import open_s3
from qwen_image_studio.settings import Settings


@pytest.mark.parametrize(
    ("url", "bucket", "address"),
    [
        (
            "s3://pictures?region=eu-central-1",
            Bucket("pictures", "", None, "eu-central-1", Style.VIRTUAL),
            "https://pictures.s3.eu-central-1.amazonaws.com/a/1.png",
        ),
        (
            "s3://our.pictures/studio/a?region=eu-central-1",
            Bucket("our.pictures", "studio/a/", None, "eu-central-1", Style.PATH),
            "https://s3.eu-central-1.amazonaws.com/our.pictures/studio/a/a/1.png",
        ),
        (
            "s3://pictures/studio/?endpoint=https://s3.oss-cn-hangzhou.aliyuncs.com",
            Bucket("pictures", "studio/", "https://s3.oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou", Style.VIRTUAL),
            "https://pictures.s3.oss-cn-hangzhou.aliyuncs.com/studio/a/1.png",
        ),
        (
            "s3://pictures?endpoint=https://oss-cn-shanghai-internal.aliyuncs.com",
            Bucket("pictures", "", "https://oss-cn-shanghai-internal.aliyuncs.com", "cn-shanghai", Style.VIRTUAL),
            "https://pictures.oss-cn-shanghai-internal.aliyuncs.com/a/1.png",
        ),
        (
            "s3://pictures?endpoint=http://127.0.0.1:9000/",
            Bucket("pictures", "", "http://127.0.0.1:9000", "us-east-1", Style.PATH),
            "http://127.0.0.1:9000/pictures/a/1.png",
        ),
        (
            "s3://pictures?endpoint=https://minio.example.com&region=office&style=virtual",
            Bucket("pictures", "", "https://minio.example.com", "office", Style.VIRTUAL),
            "https://pictures.minio.example.com/a/1.png",
        ),
        (
            "s3://pictures?endpoint=http://[::1]:9000",
            Bucket("pictures", "", "http://[::1]:9000", "us-east-1", Style.PATH),
            "http://[::1]:9000/pictures/a/1.png",
        ),
    ],
)
def test_what_stands_in_an_address(url: str, bucket: Bucket, address: str) -> None:
    assert bucket_of(url) == bucket
    endpoint = bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com"
    assert bucket.address(endpoint, "a/1.png") == address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://", "there is no bucket; write s3://BUCKET"),
        ("s3:///prefix", "there is no bucket"),
        ("s3://Pictures", "'Pictures' is no name of a bucket"),
        ("s3://pictures:9000", "'pictures:9000' is no name of a bucket"),
        ("s3://key:hush-hush@pictures", "holds credentials.*STUDIO_STORAGE_ACCESS_KEY"),
        ("s3://pictures/../x", "the prefix '../x' cannot be used; use letters"),
        ("s3://pictures/a%20b", "the prefix 'a b' cannot be used"),
        ("s3://pictures?endpoint=minio:9000", "the endpoint 'minio:9000' is no address.*https://"),
        ("s3://pictures?endpoint=https://minio/bucket", "the endpoint .* is no address"),
        ("s3://pictures?endpoint=https://minio:port", "the endpoint .* is no address"),
        ("s3://pictures?endpoint=https://[::1", "the endpoint .* is no address"),
        ("s3://pictures?endpoint=", "'endpoint' needs one value"),
        ("s3://pictures?region=a&region=b", "'region' needs one value"),
        ("s3://pictures?region=EU", "'EU' is no name of a region"),
        ("s3://pictures?style=host", "there is no style 'host'; use virtual or path"),
        ("s3://pictures?acl=public", "there is no option 'acl'; use endpoint, region and style"),
        ("s3://pictures?endpoint", "'endpoint' cannot be read"),
        ("s3://pictures?endpoint=https://oss-accelerate.aliyuncs.com", "the region is missing; add it"),
    ],
)
def test_mistakes_are_said_with_their_remedy(url: str, told: str) -> None:
    with pytest.raises(CannotServe, match=f"^STUDIO_STORAGE_URL: {told}") as caught:
        bucket_of(url)
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "missing"),
    [({"storage_access_key": "a"}, "SECRET_KEY"), ({"storage_secret_key": "b"}, "ACCESS_KEY")],
)
def test_half_of_the_keys_is_a_mistake(tmp_path: Path, keys: dict[str, str], missing: str) -> None:
    with pytest.raises(CannotServe, match=f"STUDIO_STORAGE_{missing} is empty"):
        open_s3(Settings.model_validate({"data_dir": tmp_path, "storage_url": "s3://pictures", **keys}))


LOADS = """
import sys
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
create_app(Settings(_env_file=None), {})
print(sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""


@pytest.mark.parametrize("url", ["", "s3://pictures?endpoint=http://127.0.0.1:9"])
def test_what_a_database_a_broker_and_a_bucket_need_is_loaded_when_it_is_needed(tmp_path: Path, url: str) -> None:
    environment = {"STUDIO_DATA_DIR": str(tmp_path), "STUDIO_STORAGE_URL": url, "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", LOADS, "boto3", "botocore", "cryptography", "psycopg", "kombu", "amqp", "redis"]
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
