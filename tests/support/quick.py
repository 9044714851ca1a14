"""What a process does once, at its start, done once for the thousands of applications that tests start in one."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine
from werkzeug.routing import Rule

from qwen_image_studio.database import postgresql, sqlite
from qwen_image_studio.web import page


@contextmanager
def quick_applications() -> Iterator[None]:
    """Until the end of the block, applications after the first one take a tenth of its time to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "url_rule_class", _QuickRule)
        for name in ("read_files", "pack"):
            patch.setattr(page, name, functools.cache(getattr(page, name)))
        for module in (sqlite, postgresql):
            patch.setattr(module, "create_engine", _with_statements(_Statements()))
        yield


class _QuickRule(Rule):
    """A rule whose function that builds addresses is compiled once for all rules with the same parts."""

    compiled: ClassVar[dict[tuple[object, ...], Any]] = {}

    def _compile_builder(self, append_unknown: bool = True) -> Any:
        if self.defaults:  # these are compiled into it
            return super()._compile_builder(append_unknown)
        key = (append_unknown, *self._trace)
        if key not in self.compiled:
            self.compiled[key] = super()._compile_builder(append_unknown)
        return self.compiled[key]


class _Statements(dict[tuple[Any, ...], Any]):
    """Compiled statements of one kind of database, which every engine would compile for itself."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(key[1:], default)  # the first is the engine's own dialect

    def __setitem__(self, key: tuple[Any, ...], statement: Any) -> None:
        super().__setitem__(key[1:], statement)


def _with_statements(statements: _Statements) -> Callable[..., Engine]:
    return functools.partial(create_engine, execution_options={"compiled_cache": statements})
