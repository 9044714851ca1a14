"""Settings: variables of the environment with the prefix ``STUDIO_``, also read from ``.env``; described here alone."""

from pydantic import Field, SecretStr

from qwen_image_studio.contract.storage import CdnSigning, StorageLinks
from qwen_image_studio.settings.agents import AgentSettings
from qwen_image_studio.settings.server import PREFIX

__all__ = ["PREFIX", "Settings"]


class Settings(AgentSettings):
    """The settings of an operator: read once at start and passed on explicitly, never global.

    Those of one server stand in `ServerSettings`, those of the page in `PageSettings`, those of agents in
    `AgentSettings`, and here those of servers that share database and images.
    """

    worker_name: str = Field(
        "",
        max_length=100,
        pattern=r"^[\w.:-]*$",
        description="Name of this host among those that share the job store, such as a Kubernetes pod's. Empty: the "
        "host's name.",
    )
    unserved_s: float = Field(
        600.0,
        ge=0,
        description="Seconds for which a job waits for a model that no living worker offers, before it fails.",
    )
    storage_access_key: SecretStr = Field(
        SecretStr(""),
        description="Access key id for the object store. Empty: found as AWS's own tools do (AWS_ACCESS_KEY_ID, the "
        "role of the machine).",
    )
    storage_secret_key: SecretStr = Field(SecretStr(""), description="Secret access key for the object store.")
    storage_links: StorageLinks = Field(
        StorageLinks.REDIRECT,
        description="How a link to an image in an object store is answered: `redirect` (to the store's own signed "
        "address, which callers have to reach) or `through` (the server passes the bytes on).",
    )
    cdn_url: str = Field(
        "",
        description="Address of a content delivery network before the object store, to which links lead instead. "
        "Without STUDIO_CDN_SIGNING every image is public to whoever knows its address. Empty: none.",
    )
    cdn_signing: CdnSigning = Field(
        CdnSigning.NONE,
        description="How addresses at the CDN are signed, where its bucket is private: `oss-a` (Aliyun, type A) or "
        "`cloudfront`. Empty: not at all.",
    )
    cdn_key: SecretStr = Field(
        SecretStr(""), description="Key for that: Aliyun's primary key, or CloudFront's private key (PEM, or its file)."
    )
    cdn_key_id: str = Field("", description="Id of CloudFront's public key.")
    c2pa_certificate: str = Field(
        "",
        description="Certificate chain with which files of pictures are signed, the signer's first (PEM, or its file): "
        "content credentials, credentials.md. Empty: they are not signed.",
    )
    c2pa_key: SecretStr = Field(
        SecretStr(""), description="Private key of that certificate (PEM without a password, or its file)."
    )
    c2pa_tsa_url: str = Field(
        "",
        description="Address of a time-stamping authority (RFC 3161) that is asked for the time of each signature, so "
        "that it counts after the certificate has ended. Empty: none.",
    )
