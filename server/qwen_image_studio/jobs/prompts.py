"""What remains of the texts of a job once it has ended, as the setting STUDIO_PROMPTS says.

Until its end a job has them, however often it is tried: they are what is painted. The transaction that ends it takes
them out of its row, and puts into the call log what may be kept.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from qwen_image_studio.contract.words import Prompts
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.secret_key import secret_keys

_TEXTS = frozenset({
    "prompt", "negative_prompt", "slots", "text", "brief", "product", "occasion", "audience", "headline", "subline",
    "direction",
})  # fmt: skip
_TABLES = frozenset({"table", "rows"})
_QUOTED = re.compile(r"(?<!\w)'.*'(?!\w)", re.DOTALL)
"""From the first mark of a quotation to the last: a text may have such marks of its own."""
_TAKEN_OUT = "'…'"

Words = tuple[bool, str]
"""Whether a text is to be the whole prompt, and the text."""


class PromptPolicy:
    """What the settings say about prompts."""

    def __init__(self, prompts: Prompts, secret: bytes) -> None:
        """`secret` makes hashes of short prompts unguessable; nothing else uses it for that."""
        self._prompts, self._secret = prompts, hmac.digest(secret, b"prompts", "sha256")

    @property
    def keeps(self) -> bool:
        """Whether prompts are kept as they are."""
        return self._prompts is Prompts.KEPT

    def logged(self, prompt: str | None) -> str | None:
        """Return what the call log has of a prompt."""
        if prompt is None or self._prompts is Prompts.DROPPED:
            return None
        return prompt if self.keeps else f"sha256:{self._hash(prompt)}"

    def sought(self, text: str | None) -> Words | None:
        """Return by what a prompt is found in the log that has this text in it; where only hashes are kept, one that
        is this text.
        """
        if text is None or self._prompts is not Prompts.HASHED:
            return None if text is None else (False, text)
        return True, str(self.logged(text))

    def fingerprint(self, fingerprint: str) -> str:
        """Return a request's fingerprint, which is one of its prompt, too, as it is stored."""
        return fingerprint if self.keeps else self._hash(fingerprint)

    def left_of(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns of an ended job that change, so that nothing of its texts is in them."""
        if self.keeps:
            return {}
        request = job["request"]
        return {
            "prompt": None,
            "plan": _without(job["plan"], ""),
            "request": None if request is None else _without(request, None),
            "warnings": [self.told(each) for each in job["warnings"]],
            "error_message": None if job["error_message"] is None else self.told(job["error_message"]),
        }

    def told(self, sentence: str) -> str:
        """Return what may be kept of a sentence of the server's that may quote a text: without what it quotes."""
        return sentence if self.keeps else _QUOTED.sub(_TAKEN_OUT, sentence)

    def _hash(self, text: str) -> str:
        return hmac.new(self._secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def prompt_policy(settings: Settings) -> PromptPolicy:
    """Return the policy of the settings. Raises CannotServe where the secret key is needed and damaged."""
    secret = b"" if settings.prompts is Prompts.KEPT else secret_keys(settings)[0]
    return PromptPolicy(settings.prompts, secret)


def storable(text: str) -> str | None:
    """Return a text as every database takes it; None where it is empty."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ") or None


def _without(value: Any, nothing: str | None) -> Any:
    """Return a request or plan without its texts, with `nothing` in their place; a table keeps the number of its
    rows.
    """
    if isinstance(value, list):
        return [_without(each, nothing) for each in value]
    if not isinstance(value, dict):
        return value
    left = {name: _without(each, nothing) for name, each in value.items() if name not in _TEXTS | _TABLES}
    for name in _TEXTS & value.keys():
        left[name] = {"slots": {}, "text": "…"}.get(name, nothing)  # a watermark is never empty
    for name in _TABLES & value.keys():
        table = value[name]
        left[name] = [{} for _ in table] if isinstance(table, list) else nothing if isinstance(table, str) else table
    return left
