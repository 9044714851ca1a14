"""Calls of tools as they are recorded: with places for what only a run knows, such as the image of an earlier call.

{"tool": "image_edit", "parameters": {"prompt": "make it blue", "image_id": {"$image_id": "generate"}}}
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import Answer, Call, ScriptedServer

HERE = Path(__file__).parent


class DifyFiles(ScriptedServer):
    """Dify's file server: each file by its name, behind links as Dify signs them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(self._file)
        self._contents = files

    def named(self, name: str) -> dict[str, Any]:
        """A file parameter in the shape in which Dify sends it."""
        return dify_file(f"{self.url}/files/{name}/file-preview?sign=s")

    def _file(self, call: Call) -> Answer:
        return Answer(200, self._contents[call.path.split("/")[2]])


class Caller:
    """Makes recorded calls, one after the other, and puts into each what earlier ones gave."""

    def __init__(
        self, plugin: Daemon, credentials: Mapping[str, object], files: DifyFiles, *, user_id: str = "user-1"
    ) -> None:
        self._plugin, self._credentials, self._files, self._user_id = plugin, credentials, files, user_id
        self.known: dict[str, Mapping[str, Any]] = {}
        """The variables of earlier calls by the calls' names."""

    def make(self, name: str, call: Mapping[str, Any]) -> Outcome:
        """Make one call, whatever comes of it; one without a tool is the check of the credentials."""
        credentials = {**self._credentials, **call.get("credentials", {})}
        if "tool" not in call:
            return self._plugin.validate(PROVIDER, credentials)
        outcome = self._plugin.invoke(
            PROVIDER,
            call["tool"],
            {parameter: self._filled(value) for parameter, value in call["parameters"].items()},
            credentials,
            conversation_id=call.get("conversation_id"),
            user_id=self._user_id,
        )
        self.known[name] = outcome.variables
        return outcome

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$file" in value:
            return self._files.named(value["$file"])
        for variable in ("image_id", "job_id"):
            if f"${variable}" in value:
                return self.known[value[f"${variable}"]][variable]
        return {name: self._filled(each) for name, each in value.items()}


def told(outcome: Outcome) -> dict[str, Any]:
    """What is recorded of an outcome: all that a later node of Dify can work with, but the words for people."""
    error = outcome.error and {"type": outcome.error.type, "message": outcome.error.message}
    blobs = [{"sha256": hashlib.sha256(blob.content).hexdigest(), **blob.meta} for blob in outcome.blobs]
    variables = {name: value for name, value in outcome.variables.items() if name != "progress"}
    return {"error": error, "variables": variables, "blobs": blobs}
