"""Signed links: any changed byte is refused, so is an expired one; keys rotate; links outlive a restart.

Each promise holds for both signatures: today's, and that of version 0.1, whose links are still about.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.links import Links, open_links
from qwen_image_studio.settings import Settings

NOW = 1_800_000_123.0
KEY = "2026/11/21/job_abc/0.png"
EXPIRES = "1800003600"
KEYS = (b"present", b"earlier")


def sign(key: str, expires: str, keys: Sequence[bytes] = KEYS) -> str:
    """What today's links carry, for any text as key and expiry."""
    signer = Links("", keys, 60)._signer
    return signer.get_signature(f"{key}?expires={expires}".encode("utf-8", "surrogatepass")).decode()


def sign_as_0_1(key: str, expires: str, keys: Sequence[bytes] = KEYS) -> str:
    """What links of version 0.1 carry."""
    message = f"{expires}\n{key}".encode("utf-8", "surrogatepass")
    return hmac.new(keys[0], message, hashlib.sha256).hexdigest()


Sign = Callable[..., str]
both = pytest.mark.parametrize("signed", [sign, sign_as_0_1], ids=["today", "0.1"])


def refused(
    key: str, expires: str, signature: str, *, keys: Sequence[bytes] = KEYS, now: float = NOW, step: str = ""
) -> bool:
    """Whether the link is refused; an error other than the refusal is passed on."""
    query = {"expires": expires, "signature": signature, "step": step}
    try:
        Links("", keys, 60).check(key, query, now)
    except StudioError as error:
        if error.code != "link_refused":
            raise
        return True
    return False


def refused_with(signed: Sign, part: int, changed: str) -> bool:
    """Whether the good link is refused once its part (0 key, 1 expiry, 2 signature) is replaced."""
    fields = [KEY, EXPIRES, signed(KEY, EXPIRES)]
    fields[part] = changed
    key, expires, signature = fields
    return refused(key, expires, signature)


def parts(url: str) -> tuple[str, dict[str, str]]:
    """Key and query parameters of a link."""
    split = urlsplit(url)
    return split.path.removeprefix("/files/"), {name: values[0] for name, values in parse_qs(split.query).items()}


@both
def test_a_link_as_given_out_passes(signed: Sign) -> None:
    assert not refused(KEY, EXPIRES, signed(KEY, EXPIRES))


def test_an_address_may_have_files_in_its_path() -> None:
    links = Links("https://example.com/files/app", [b"present"], 60)
    assert links.key_of(links.link(KEY)) == KEY


def test_a_link_that_version_0_1_gave_out_opens() -> None:
    """As `links.link` of that version wrote it, with the key `present`."""
    signature = "202190da824ee61fa32c9d4477956efcb396a28ac3e0c7fc7a47a8a5ef950a69"
    assert not refused(KEY, EXPIRES, signature)
    assert refused(KEY, EXPIRES, signature, now=int(EXPIRES))


@both
@pytest.mark.parametrize("mask", [0x01, 0x02, 0x10, 0x20, 0x80, 0xFF])
@pytest.mark.parametrize("part", [0, 1, 2], ids=["key", "expires", "signature"])
def test_every_changed_byte_is_refused(signed: Sign, part: int, mask: int) -> None:
    field = (KEY, EXPIRES, signed(KEY, EXPIRES))[part]
    for position in range(len(field)):
        changed = bytearray(field.encode())
        changed[position] ^= mask
        assert refused_with(signed, part, changed.decode("latin-1")), f"byte {position} of {changed!r}"


@both
@pytest.mark.parametrize("part", [0, 1, 2], ids=["key", "expires", "signature"])
def test_every_missing_and_doubled_byte_is_refused(signed: Sign, part: int) -> None:
    field = (KEY, EXPIRES, signed(KEY, EXPIRES))[part]
    for position in range(len(field)):
        assert refused_with(signed, part, field[:position] + field[position + 1 :])
        assert refused_with(signed, part, field[:position] + field[position] + field[position:])


def test_every_other_letter_in_the_signature_is_refused() -> None:
    """Base64 has spare bits at its end, which decoding ignores: another spelling of the same signature."""
    signature = sign(KEY, EXPIRES)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=."
    for position in range(len(signature)):
        for letter in alphabet.replace(signature[position], ""):
            assert refused(KEY, EXPIRES, signature[:position] + letter + signature[position + 1 :])


@both
@pytest.mark.parametrize(
    "spelling",
    [
        *[f"0{EXPIRES}", f"+{EXPIRES}", f" {EXPIRES}", f"{EXPIRES} ", f"{EXPIRES}\n", f"{EXPIRES}.0"],
        *["1_800_003_600", "１８００００３６００", "0x6b49e310", "-1", "", "9" * 5000, "1e99", "inf"],
    ],
)
def test_the_expiry_has_one_spelling(signed: Sign, spelling: str) -> None:
    assert refused(KEY, spelling, signed(KEY, EXPIRES))
    # Even an expiry that we had signed in such a spelling would not count.
    assert refused(KEY, spelling, signed(KEY, spelling))


@both
def test_the_signature_has_one_spelling(signed: Sign) -> None:
    good = signed(KEY, EXPIRES)
    for spelling in (good.upper(), " " + good, good + "\n", good + "=", "0x" + good, "é" * 64, "\ud800", ""):
        assert refused(KEY, EXPIRES, spelling)


@both
@given(key=st.text(), expires=st.text(), signature=st.text())
def test_nothing_made_up_passes_or_fails_in_another_way(signed: Sign, key: str, expires: str, signature: str) -> None:
    good = signed(KEY, EXPIRES)
    assert refused(key, expires, signature)
    assert refused(KEY, expires, good) or expires == EXPIRES
    assert refused(key, EXPIRES, good) or key == KEY


@both
def test_no_byte_wanders_between_expiry_and_key(signed: Sign) -> None:
    assert refused("0/" + KEY, EXPIRES[:-1], signed(KEY, EXPIRES))
    assert signed("2/a", "1") != signed("/a", "12")


def test_a_step_is_signed_as_all_else() -> None:
    key, query = parts(Links("", KEYS, 3600).link(KEY, step=7, now=NOW))
    expires, signature = query["expires"], query["signature"]
    assert not refused(key, expires, signature, step="7")
    for step in ("", "8", "07", "7 ", "7&step=7"):
        assert refused(key, expires, signature, step=step)
    assert refused(f"{key}?step=7", expires, signature)
    assert refused(KEY, EXPIRES, sign(KEY, EXPIRES), step="7")
    assert refused(key, f"7&expires={expires}", signature, step="")


def test_a_version_0_1_preview_opens_with_the_step_behind_its_signature() -> None:
    assert not refused(KEY, EXPIRES, sign_as_0_1(KEY, EXPIRES), step="7")


@both
def test_a_link_works_until_its_second(signed: Sign) -> None:
    assert not refused(KEY, EXPIRES, signed(KEY, EXPIRES), now=1_800_003_599.9)
    assert refused(KEY, EXPIRES, signed(KEY, EXPIRES), now=1_800_003_600.0)
    assert refused(KEY, EXPIRES, signed(KEY, EXPIRES), now=4e9)


@both
def test_a_link_of_one_image_never_opens_another(signed: Sign) -> None:
    assert refused(KEY.replace("0.png", "1.png"), EXPIRES, signed(KEY, EXPIRES))


@both
def test_keys_rotate(signed: Sign) -> None:
    old = signed(KEY, EXPIRES, (b"old",))
    assert not refused(KEY, EXPIRES, old, keys=(b"new", b"old"))
    assert refused(KEY, EXPIRES, old, keys=(b"new",))
    assert signed(KEY, EXPIRES, (b"new", b"old")) == signed(KEY, EXPIRES, (b"new",))


@pytest.mark.parametrize("keys", [(), (b"",), (b"present", b"")])
def test_nothing_is_signed_without_a_secret(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="secret"):
        Links("", keys, 60)


@pytest.mark.parametrize("now", [NOW, 1_800_000_000.0, 1_800_003_599.0])
def test_the_expiry_is_the_full_hour_after_the_set_time(now: float) -> None:
    links = Links("https://studio.example", KEYS, 600)
    url = links.link(KEY, now=now)
    key, query = parts(url)
    assert url.startswith("https://studio.example/files/2026/11/21/job_abc/0.png?expires=")
    expires = int(query["expires"])
    assert expires % 3600 == 0
    assert now + 600 <= expires < now + 600 + 3600
    assert links.check(key, query, now + 599) == expires


def test_a_link_stays_the_same_within_the_hour_and_differs_by_key_and_step() -> None:
    links = Links("", KEYS, 3600)

    def at(now: float) -> str:
        return links.link(KEY, now=now)

    assert at(1_800_000_001) == at(1_800_003_600) != at(1_800_003_601)
    assert len({links.link(KEY, now=NOW, step=step) for step in (None, 0, 1)} | {links.link("a.png", now=NOW)}) == 4


@pytest.mark.parametrize("key", ["", "../canary", "a b", "é.png", "a\0b"])
def test_what_no_file_is_called_has_no_link(key: str) -> None:
    with pytest.raises(StudioError) as caught:
        Links("", KEYS, 60).link(key)
    assert caught.value.code == "not_found"


def test_links_survive_a_restart(tmp_path: Path) -> None:
    key, query = parts(open_links(Settings(_env_file=None, data_dir=tmp_path)).link(KEY, now=NOW))
    again = open_links(Settings(_env_file=None, data_dir=tmp_path))
    assert again.check(key, query, NOW) == int(query["expires"])
    other = open_links(Settings(_env_file=None, data_dir=tmp_path / "other"))
    with pytest.raises(StudioError):
        other.check(key, query, NOW)


def test_a_link_that_comes_back_is_known_as_our_own(tmp_path: Path) -> None:
    links = open_links(Settings(_env_file=None, data_dir=tmp_path, public_url="https://studio.example"))
    url = links.link(KEY)
    assert links.is_own(url)
    assert links.key_of(url) == KEY
    assert links.key_of(f"{url}&utm_source=chat") == KEY
    assert not links.is_own(url.replace("studio.example", "studio.example.evil"))
    with pytest.raises(StudioError):
        links.key_of(url.replace("0.png", "1.png"))
