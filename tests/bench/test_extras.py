"""A benchmark names all extras that it lacks before it measures anything."""

import sys

import pytest
from interwhen.bench._extras import loop_options, require
from interwhen.toolkit import MissingExtraError


def test_all_that_is_missing_is_named_at_once(monkeypatch):
    for module in ("uvloop", "openai"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"^interwhen bench x needs .*'interwhen\[fast,openai\]'$"):
        require("interwhen bench x", "httptools", "uvloop", "starlette", "openai")
    require("interwhen bench x", "httptools", "starlette")


def test_uvloop_is_asked_for_only_where_it_is_wanted(monkeypatch):
    assert loop_options("interwhen bench x", uvloop=True) == {"use_uvloop": True}
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_options("interwhen bench x", uvloop=False) == {}
    with pytest.raises(MissingExtraError, match=r"interwhen\[fast\].*--no-uvloop"):
        loop_options("interwhen bench x", uvloop=True)
