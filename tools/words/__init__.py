"""The words to people: written in English where they are said, and here in Chinese, the plugin's and the server's."""

from tools.words.saying import CHINESE, said, translated

__all__ = ["CHINESE", "said", "translated"]
