"""The declaration of the plugin to Dify, in one place and four languages; ``make declare`` makes Dify's YAML from it.

``plugin.yaml`` has the manifest, the provider and the order of the tools. A tool has a file of its own; parameters and
output variables that several tools share stand once, in ``parameters.yaml`` and ``outputs.yaml``. A tool takes one of
those by its name, and may say parts of it anew::

    parameters:
      - seed
      - wait: {llm: Whether to wait for the result.}

A text is written in all languages, ``{en: Seed, zh: 种子, ja: シード, pt: Semente}``, or once where it is the same in
all. A new tool is ``tools/NAME.py``, ``declaration/NAME.yaml`` and its name in ``plugin.yaml``.

This package stays outside of the plugin that Dify gets.
"""
