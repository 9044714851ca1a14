"""What clients for Python are asked for. These modules run in ``.venv-clients``, which has the clients."""
