"""What several folders of tests share: servers to call, servers that play a script, the plugin's daemon, pictures.

A folder of tests imports from here and from itself, never from another folder.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
