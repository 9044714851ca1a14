"""Signed links: any changed byte is refused, so is an expired one; keys rotate; links outlive a restart."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery import links
from qwen_image_studio.gallery.storage import open_storage
from qwen_image_studio.settings import Settings

NOW = 1_800_000_123.0
KEY = "2026/11/21/job_abc/0.png"
EXPIRES = "1800003600"
KEYS = (b"present", b"earlier")
SIGNATURE = links.sign(KEY, EXPIRES, KEYS)


def refused(key: str, expires: str, signature: str, *, keys: tuple[bytes, ...] = KEYS, now: float = NOW) -> bool:
    """Whether the link is refused; an error other than the refusal is passed on."""
    try:
        links.verify(key, expires, signature, keys, now)
    except StudioError as error:
        if error.code != "link_refused":
            raise
        return True
    return False


def refused_with(part: int, changed: str) -> bool:
    """Whether the good link is refused once its part (0 key, 1 expiry, 2 signature) is replaced."""
    fields = [KEY, EXPIRES, SIGNATURE]
    fields[part] = changed
    key, expires, signature = fields
    return refused(key, expires, signature)


def parts(url: str) -> tuple[str, str, str]:
    """Key, expiry and signature of a link."""
    split = urlsplit(url)
    query = parse_qs(split.query)
    return split.path.removeprefix("/files/"), query["expires"][0], query["signature"][0]


def test_a_link_as_given_out_passes() -> None:
    assert not refused(KEY, EXPIRES, SIGNATURE)


@pytest.mark.parametrize("mask", [0x01, 0x02, 0x10, 0x20, 0x80, 0xFF])
@pytest.mark.parametrize("part", [0, 1, 2], ids=["key", "expires", "signature"])
def test_every_changed_byte_is_refused(part: int, mask: int) -> None:
    field = (KEY, EXPIRES, SIGNATURE)[part]
    for position in range(len(field)):
        changed = bytearray(field.encode())
        changed[position] ^= mask
        assert refused_with(part, changed.decode("latin-1")), f"byte {position} of {changed!r}"


@pytest.mark.parametrize("part", [0, 1, 2], ids=["key", "expires", "signature"])
def test_every_missing_and_doubled_byte_is_refused(part: int) -> None:
    field = (KEY, EXPIRES, SIGNATURE)[part]
    for position in range(len(field)):
        assert refused_with(part, field[:position] + field[position + 1 :])
        assert refused_with(part, field[:position] + field[position] + field[position:])


@pytest.mark.parametrize(
    "spelling",
    [
        *[f"0{EXPIRES}", f"+{EXPIRES}", f" {EXPIRES}", f"{EXPIRES} ", f"{EXPIRES}\n", f"{EXPIRES}.0"],
        *["1_800_003_600", "１８００００３６００", "0x6b49e310", "-1", "", "9" * 5000, "1e99", "inf"],
    ],
)
def test_the_expiry_has_one_spelling(spelling: str) -> None:
    assert refused(KEY, spelling, SIGNATURE)
    # Even an expiry that we had signed in such a spelling would not count.
    assert refused(KEY, spelling, links.sign(KEY, spelling, KEYS))


def test_the_signature_has_one_spelling() -> None:
    for spelling in (SIGNATURE.upper(), " " + SIGNATURE, SIGNATURE + "\n", "0x" + SIGNATURE, "é" * 64, "\ud800", ""):
        assert refused(KEY, EXPIRES, spelling)


@given(st.text(), st.text(), st.text())
def test_nothing_made_up_passes_or_fails_in_another_way(key: str, expires: str, signature: str) -> None:
    assert refused(key, expires, signature)
    assert refused(KEY, expires, SIGNATURE) or expires == EXPIRES
    assert refused(key, EXPIRES, SIGNATURE) or key == KEY


def test_no_byte_wanders_between_expiry_and_key() -> None:
    assert refused("0/" + KEY, EXPIRES[:-1], links.sign(KEY, EXPIRES, KEYS))
    assert links.sign("2/a", "1", KEYS) != links.sign("/a", "12", KEYS)


def test_a_link_works_until_its_second() -> None:
    assert not refused(KEY, EXPIRES, SIGNATURE, now=1_800_003_599.9)
    assert refused(KEY, EXPIRES, SIGNATURE, now=1_800_003_600.0)
    assert refused(KEY, EXPIRES, SIGNATURE, now=4e9)


def test_a_link_of_one_image_never_opens_another() -> None:
    assert refused(KEY.replace("0.png", "1.png"), EXPIRES, SIGNATURE)


def test_keys_rotate() -> None:
    old = links.sign(KEY, EXPIRES, (b"old",))
    assert not refused(KEY, EXPIRES, old, keys=(b"new", b"old"))
    assert refused(KEY, EXPIRES, old, keys=(b"new",))
    assert links.sign(KEY, EXPIRES, (b"new", b"old")) == links.sign(KEY, EXPIRES, (b"new",))
    assert refused(KEY, EXPIRES, old, keys=())


@pytest.mark.parametrize("keys", [(), (b"",)])
def test_nothing_is_signed_without_a_secret(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="secret"):
        links.sign(KEY, EXPIRES, keys)


@pytest.mark.parametrize("now", [NOW, 1_800_000_000.0, 1_800_003_599.0])
def test_the_expiry_is_the_full_hour_after_the_set_time(now: float) -> None:
    url = links.link(KEY, address="https://studio.example", ttl_s=600, keys=KEYS, now=now)
    key, expires, signature = parts(url)
    assert url.startswith("https://studio.example/files/2026/11/21/job_abc/0.png?expires=")
    assert int(expires) % 3600 == 0
    assert now + 600 <= int(expires) < now + 600 + 3600
    links.verify(key, expires, signature, KEYS, now + 599)


def test_a_link_stays_the_same_within_the_hour() -> None:
    def at(now: float) -> str:
        return links.link(KEY, address="", ttl_s=3600, keys=KEYS, now=now)

    assert at(1_800_000_001) == at(1_800_003_600) != at(1_800_003_601)


def test_links_survive_a_restart(tmp_path: Path) -> None:
    before = Settings(_env_file=None, data_dir=tmp_path)
    key, expires, signature = parts(open_storage(before).url(KEY, now=NOW))
    again = Settings(_env_file=None, data_dir=tmp_path)
    links.verify(key, expires, signature, again.signing_keys(), NOW)
    other = Settings(_env_file=None, data_dir=tmp_path / "other")
    assert refused(key, expires, signature, keys=other.signing_keys())
