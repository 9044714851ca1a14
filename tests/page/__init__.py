"""The studio page in Debian's Chromium, before real servers with the miniature (``make test-page``)."""
