"""The bucket that STUDIO_STORAGE_URL names: s3://BUCKET/PREFIX?endpoint=URL&region=NAME&style=virtual|path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.gallery.names import check_key

EXAMPLE = "s3://BUCKET/PREFIX?endpoint=https://HOST&region=NAME"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_OSS = re.compile(r"(?:s3\.)?oss-([a-z]{2}-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com", re.ASCII)
_BY_NAME = (".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com")
"""Ends of the hosts of stores that want the bucket in the host's name."""
_OF_OTHERS = "us-east-1"
"""The region of servers that know none, such as MinIO."""


class Style(StrEnum):
    """Where an address has the bucket."""

    VIRTUAL = "virtual"
    """In the host's name."""
    PATH = "path"
    """At the beginning of the path."""


@dataclass(frozen=True)
class Bucket:
    """A bucket, and where in it the files are."""

    name: str
    prefix: str
    """Beginning of all keys in the bucket: empty, or with a slash at its end."""
    endpoint: str | None
    """Address of the store; None for AWS's own of the region."""
    region: str | None
    """Region that requests are signed for; None: as AWS's own tools find it."""
    style: Style

    def address(self, endpoint: str, key: str) -> str:
        """Return the address of a file at the endpoint, without a signature. Keys have nothing to escape."""
        split = urlsplit(endpoint)
        if self.style is Style.VIRTUAL:
            return f"{split.scheme}://{self.name}.{split.netloc}/{self.prefix}{key}"
        return f"{split.scheme}://{split.netloc}/{self.name}/{self.prefix}{key}"


def bucket_of(url: str) -> Bucket:
    """Return the bucket of a STUDIO_STORAGE_URL. Raises CannotServe, which says what is wrong with it."""
    split = urlsplit(url)
    if "@" in split.netloc:
        raise _wrong(
            "holds credentials, which addresses are no place for",
            "set STUDIO_STORAGE_ACCESS_KEY and STUDIO_STORAGE_SECRET_KEY",
        )
    name, options = split.netloc, _options(split.query)
    if not _NAME.fullmatch(name):
        raise _wrong(f"'{name}' is no name of a bucket" if name else "there is no bucket", f"write {EXAMPLE}")
    endpoint = _endpoint(options.get("endpoint"))
    region = options.get("region") or _region(endpoint)
    if region is not None and not _REGION.fullmatch(region):
        raise _wrong(f"'{region}' is no name of a region", "write one such as region=eu-central-1")
    return Bucket(name, _prefix(split.path), endpoint, region, _style(options.get("style"), endpoint, name))


def _options(query: str) -> Mapping[str, str]:
    try:
        read = parse_qs(query, keep_blank_values=True, strict_parsing=True) if query else {}
    except ValueError:
        raise _wrong(f"'{query}' cannot be read", f"write {EXAMPLE}") from None
    for option, values in read.items():
        if option not in {"endpoint", "region", "style"}:
            raise _wrong(f"there is no option '{option}'", "use endpoint, region and style")
        if len(values) > 1 or not values[0]:
            raise _wrong(f"'{option}' needs one value", f"write {EXAMPLE}")
    return {option: values[0] for option, values in read.items()}


def _endpoint(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        split = urlsplit(text)
        plain = not (split.path.strip("/") or split.query or split.fragment or split.username)
        if split.scheme in {"http", "https"} and split.hostname and plain and split.port != 0:
            return f"{split.scheme}://{split.netloc}"
    except ValueError:  # a port that is no number, half an IPv6 address
        pass
    raise _wrong(f"the endpoint '{text}' is no address of a store", "write one such as endpoint=https://s3.example.com")


def _prefix(path: str) -> str:
    prefix = unquote(path).strip("/")
    try:
        return f"{check_key(prefix)}/" if prefix else ""
    except StudioError:
        raise _wrong(
            f"the prefix '{prefix}' cannot be used",
            "use letters, digits, '-' and '_', with slashes between folders",
        ) from None


def _region(endpoint: str | None) -> str | None:
    """Return the region where the endpoint tells it; None for AWS's own."""
    if endpoint is None:
        return None
    host = urlsplit(endpoint).hostname or ""
    if match := _OSS.fullmatch(host):
        return match[1]
    if not host.endswith(_BY_NAME):
        return _OF_OTHERS
    raise _wrong("the region is missing", "add it, such as &region=cn-hangzhou")


def _style(text: str | None, endpoint: str | None, bucket: str) -> Style:
    if text is not None:
        try:
            return Style(text)
        except ValueError:
            raise _wrong(f"there is no style '{text}'", "use virtual or path") from None
    if endpoint is None:
        # The certificate of AWS's hosts is good for one name before them, and not for one with dots.
        return Style.PATH if "." in bucket else Style.VIRTUAL
    host = urlsplit(endpoint).hostname or ""
    return Style.VIRTUAL if host.endswith(_BY_NAME) and not _is_address(host) else Style.PATH


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _wrong(what: str, remedy: str) -> CannotServe:
    return CannotServe(f"STUDIO_STORAGE_URL: {what}; {remedy}.")
