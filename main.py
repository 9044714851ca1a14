"""Entry point: what Dify's plugin daemon runs as ``python -m main``."""

import os

# The SDK reads this once, at import, and its own 5 seconds are too few for a photo from a busy Dify.
os.environ.setdefault("HTTPX_TIMEOUT", "60")

from dify_plugin import DifyPluginEnv, Plugin  # type: ignore[import-untyped]

if __name__ == "__main__":
    # For the serverless runtime alone, where the SDK itself ends a call; Dify's local daemon has a limit of its own.
    Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600)).run()
