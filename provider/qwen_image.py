"""The provider qwen_image, which checks the administrator's credentials."""

from typing import Any

from dify_plugin import ToolProvider  # type: ignore[import-untyped]
from dify_plugin.errors.model import CredentialsValidateFailedError  # type: ignore[import-untyped]

from tools.errors import ClientError
from tools.parameters import Credentials


class QwenImageProvider(ToolProvider):  # type: ignore[misc]
    """The check of the credentials: it asks the server for its health and its models, and paints nothing."""

    def _validate_credentials(self, credentials: dict[str, Any]) -> None:
        try:
            with Credentials.parse(credentials).client() as studio:
                studio.check()
        except ClientError as error:
            # Of any other class, Dify shows the person JSON with a traceback around the sentence.
            raise CredentialsValidateFailedError(str(error)) from None
