"""Training of the miniature's parts, one stage after the other; see ``server.miniature.__main__``."""
