"""Entry point: what Dify's plugin daemon runs as ``python -m main``."""

import os

# The SDK reads this once, at import, and its own 5 seconds are too few for a photo from a busy Dify.
os.environ.setdefault("HTTPX_TIMEOUT", "60")

from dify_plugin import DifyPluginEnv, Plugin  # type: ignore[import-untyped]

if __name__ == "__main__":
    # The tools keep their own time budget; the SDK's limit only has to lie above the daemon's 600 seconds.
    Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600)).run()
