"""What a call of a tool says to the person: one growing line of progress, and errors that Dify shows unchanged."""

import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dify_plugin import Tool  # type: ignore[import-untyped]
from dify_plugin.entities.tool import ToolInvokeMessage  # type: ignore[import-untyped]
from dify_plugin.errors.model import (  # type: ignore[import-untyped]
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from tools.client import StudioClient, Update
from tools.errors import ClientError, KeyRefused, QueueFull, Refused, Unreachable, WrongServer
from tools.parameters import language_for
from tools.progress import Line
from tools.watching import Watch
from tools.wishes import Language
from tools.words import translated

Returned = TypeVar("Returned")


class Call:
    """One call of a tool, from its beginning on: how it speaks, and in which language."""

    def __init__(self, tool: Tool, parameters: Mapping[str, Any]) -> None:
        self.tool = tool
        self.language: Language = language_for(tool.runtime.credentials, parameters)
        self._line = Line(self.language)

    def reported_errors(self) -> AbstractContextManager[None]:
        """Turn errors into those of Dify's, in the call's language and in the words of the place it was made from."""
        return reported_errors(self.language, in_conversation=bool(self.tool.session.conversation_id))

    def streamed(
        self, updates: Generator[Update, None, Returned], started_by: StudioClient | None = None
    ) -> Generator[ToolInvokeMessage, None, Returned]:
        """Yield what the updates add to the stream variable ``progress``; return what ``updates`` returns.

        A job that the client ``started_by`` started here is cancelled where nobody waits for it any more.
        """
        watch = None if started_by is None else Watch(self.tool, started_by)
        while True:
            try:
                update = next(updates)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            yield from self._progress(self._line.grown_by(update))
            if watch is not None:
                watch.look(update)

    def noted(self, english: str) -> Iterator[ToolInvokeMessage]:
        """Yield a piece of progress that is not about a job, such as ``writing the prompt``."""
        yield from self._progress(self._line.noted(english))

    def ended(self) -> Iterator[ToolInvokeMessage]:
        """Yield the end of the progress; every call that succeeds has the variable, if only an empty one."""
        yield from self._progress(self._line.ended())
        if not self._line.text:
            yield self.tool.create_variable_message("progress", "")

    def _progress(self, piece: str) -> Iterator[ToolInvokeMessage]:
        if piece:
            yield self.tool.create_stream_variable_message("progress", piece)


@contextmanager
def reported_errors(language: Language = "en", *, in_conversation: bool = True) -> Iterator[None]:
    """Turn the client's errors into those of Dify's that show the person their sentence and nothing else."""
    try:
        yield
    except ClientError as error:
        message = str(error) if in_conversation else _outside_of_conversations(str(error))
        # The SDK also sends the chain of causes, and ours holds signed URLs.
        raise _dify_error(error, translated(message, language)) from None
    except Exception as fault:  # noqa: BLE001 - our own fault: Dify would show its text and trace, which may hold a key
        where = traceback.extract_tb(fault.__traceback__)[-1]
        what = f"{type(fault).__name__} in line {where.lineno} of {Path(where.filename).name}"
        raise InvokeServerUnavailableError(
            f"The plugin failed over this call ({what}). Run it again; if it fails again, tell the plugin's developers "
            "these words and what you asked for."
        ) from None


def _outside_of_conversations(message: str) -> str:
    """Return a message of the server in words for a workflow, which has no conversation."""
    return message.replace(
        "there is no image in this conversation yet, or it was long ago; send the one you mean.",
        "none was given, and this app has no earlier one of yours; give a file, or image_id.",
    )


def _dify_error(error: ClientError, message: str) -> Exception:
    kinds: Sequence[tuple[type[ClientError], type[Exception]]] = (
        (Refused, InvokeBadRequestError),
        (KeyRefused, InvokeAuthorizationError),
        (QueueFull, InvokeRateLimitError),
        (Unreachable, InvokeConnectionError),
        (WrongServer, InvokeConnectionError),
    )
    for kind, dify_kind in kinds:
        if isinstance(error, kind):
            return dify_kind(message)
    return InvokeServerUnavailableError(message)  # type: ignore[no-any-return]
