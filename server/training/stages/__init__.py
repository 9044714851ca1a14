"""Training of the miniature's parts, one stage after the other; see ``training.__main__``."""
