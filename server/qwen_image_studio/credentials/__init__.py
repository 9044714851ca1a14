"""Content credentials (C2PA): signed statements inside the files of pictures on what made them.

Off unless the operator names a certificate and its key. Only here is the package c2pa known.
"""

from qwen_image_studio.credentials.certificate import Certificate, read_certificate, signer
from qwen_image_studio.credentials.manifest import Ingredient, Statement, composed, made
from qwen_image_studio.credentials.signing import Credentials, Signed, open_credentials

__all__ = [
    "Certificate",
    "Credentials",
    "Ingredient",
    "Signed",
    "Statement",
    "composed",
    "made",
    "open_credentials",
    "read_certificate",
    "signer",
]
