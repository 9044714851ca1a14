"""How the pictures of an object store reach those who look at them."""

from enum import StrEnum


class StorageLinks(StrEnum):
    """How a link to a picture that lies in an object store is answered."""

    REDIRECT = "redirect"
    """With the address at the store, which is signed and expires."""
    THROUGH = "through"
    """With the bytes, so that nobody but the server needs to reach the store."""


class CdnSigning(StrEnum):
    """How addresses at a content delivery network are signed."""

    NONE = ""
    OSS_A = "oss-a"
    """As Aliyun's CDN checks it, type A."""
    CLOUDFRONT = "cloudfront"
