"""Presigned addresses: checked by stores that check them, and how long they last."""

import time
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from qwen_image_studio.gallery.bucket import bucket_of
from qwen_image_studio.gallery.direct import HOUR_S
from qwen_image_studio.gallery.presigned import Presigned
from qwen_image_studio.gallery.s3 import S3Store
from tests.ports.test_object_stores import DATA, KEY, no_machine, opened

__all__ = ["no_machine"]  # a fixture for these tests too


@pytest.fixture
def signed(request: pytest.FixtureRequest) -> Presigned:
    """What makes addresses of a store with a file; the test names its server, or takes one that checks signatures."""
    store = opened(request.getfixturevalue(getattr(request, "param", "nanio")))
    store.put(KEY, DATA, "application/octet-stream")
    return Presigned(store)


def url_of(signed: Presigned, now: float, until: float) -> str:
    address = signed.of(KEY, until, now)
    assert address is not None
    return address.url


@pytest.mark.parametrize("signed", ["nanio", "s3rver"], indirect=True)
def test_a_presigned_address_gives_the_file_and_parts_of_it(signed: Presigned) -> None:
    url = url_of(signed, time.time(), hour() + 7 * 86400)
    whole = requests.get(url, timeout=60)
    assert (whole.status_code, whole.content) == (200, DATA)
    part = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=60)
    assert (part.status_code, part.content) == (206, DATA[10:20])


@pytest.mark.parametrize("signed", ["s3rver"], indirect=True)
def test_a_presigned_address_gives_type_name_and_how_long_to_keep_it(signed: Presigned) -> None:
    found = requests.get(url_of(signed, time.time(), hour() + 7 * 86400), timeout=60)
    assert found.headers["Content-Type"] == "image/png"
    assert found.headers["Content-Disposition"] == 'inline; filename="img_1.png"'
    assert found.headers["Cache-Control"] == "private, max-age=7200, immutable"


@pytest.mark.parametrize("change", ["key", "time", "type", "signature"])
def test_a_changed_address_is_refused(signed: Presigned, change: str) -> None:
    url = url_of(signed, time.time(), hour() + 7 * 86400)
    old, new = {
        "key": ("img_1.png", "img_2.png"),
        "time": ("X-Amz-Expires=7200", "X-Amz-Expires=7201"),
        "type": ("image%2Fpng", "text%2Fhtml"),
        "signature": (url[-4:], "0000" if url[-4:] != "0000" else "1111"),
    }[change]
    assert old in url
    assert requests.get(url.replace(old, new), timeout=60).status_code == 403


@pytest.mark.parametrize("signed", ["nanio", "s3rver"], indirect=True)
def test_an_expired_address_is_refused(signed: Presigned) -> None:
    then = time.time() - 3 * HOUR_S
    assert requests.get(url_of(signed, then, hour() + 7 * 86400), timeout=60).status_code == 403


def test_an_address_is_for_a_get_alone(signed: Presigned) -> None:
    url = url_of(signed, time.time(), hour() + 7 * 86400)
    assert requests.head(url, timeout=60).status_code == 403


def presigned() -> Presigned:
    """Addresses that nobody visits."""
    return Presigned(S3Store(bucket_of("s3://pictures?region=eu-central-1"), "key", "secret"))


def hour() -> int:
    """When this hour began."""
    return int(time.time() // HOUR_S) * HOUR_S


def test_an_address_is_the_same_all_through_an_hour() -> None:
    addresses, now = presigned(), hour()
    until = now + 7 * 86400
    assert url_of(addresses, now, until) == url_of(addresses, now + HOUR_S - 1, until)
    assert url_of(addresses, now, until) != url_of(addresses, now + HOUR_S, until)


@pytest.mark.parametrize(("left_s", "lasts"), [(7 * 86400, 7200), (HOUR_S, 3600), (40, 40)])
def test_an_address_never_works_longer_than_its_link(left_s: int, lasts: int) -> None:
    now = hour()
    address = presigned().of(KEY, now + left_s, now)
    assert address is not None
    assert address.expires_at == now + lasts
    assert parse_qs(urlsplit(address.url).query)["X-Amz-Expires"] == [str(lasts)]


@pytest.mark.parametrize(
    ("left_s", "lasts"),
    [(None, (900, 1800)), (40 * 60, (1800, 2400)), (6 * HOUR_S, (3600, 7200)), (12 * 60, (300, 720)), (4 * 60, None)],
)
def test_an_address_never_works_longer_than_the_credentials(
    monkeypatch: pytest.MonkeyPatch, left_s: int | None, lasts: tuple[int, int] | None
) -> None:
    """Temporary ones, which tell their end or do not (None)."""
    now = time.time()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    if left_s is not None:
        end = datetime.fromtimestamp(now + left_s, UTC).isoformat()
        monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", end)
    address = Presigned(S3Store(bucket_of("s3://pictures?region=eu-central-1"))).of(KEY, now + 7 * 86400, now)
    assert (address is None) is (lasts is None)
    if address is not None and lasts is not None:
        left = address.expires_at - now
        assert lasts[0] <= left <= lasts[1]
        query = parse_qs(urlsplit(address.url).query)
        assert query["X-Amz-Security-Token"] == ["token"]
        assert abs(int(query["X-Amz-Expires"][0]) - left) <= 1


def test_addresses_of_aliyun_have_the_bucket_in_the_host() -> None:
    store = S3Store(bucket_of("s3://pictures/a?endpoint=https://s3.oss-cn-hangzhou.aliyuncs.com"), "key", "secret")
    address = Presigned(store).of(KEY, time.time() + 86400, time.time())
    assert address is not None
    split = urlsplit(address.url)
    assert (split.netloc, split.path) == ("pictures.s3.oss-cn-hangzhou.aliyuncs.com", f"/a/{KEY}")
    query = parse_qs(split.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Credential"][0].endswith("/cn-hangzhou/s3/aws4_request")
