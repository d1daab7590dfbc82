"""`wrap`: which clients it takes, and what it says if it cannot supervise one."""

import builtins

import openai
import pytest
from interwhen import UsageError, wrap
from interwhen.clients import _wrap
from interwhen.toolkit import MissingExtraError


def client():
    return openai.AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="k")


def test_wrap_keeps_the_class_without_changing_the_original():
    bare = client()
    made = wrap(bare)
    assert isinstance(made, openai.AsyncOpenAI)
    assert type(bare) is openai.AsyncOpenAI
    assert (made.base_url, made.api_key) == (bare.base_url, bare.api_key)


def test_what_is_no_client_is_refused():
    with pytest.raises(UsageError, match=r"openai\.AsyncOpenAI"):
        wrap(object())


def test_an_unknown_option_is_refused_at_once():
    with pytest.raises(UsageError, match="colour"):
        wrap(client(), colour="red")


@pytest.mark.parametrize(
    ("is_installed", "kind", "said"),
    [(False, MissingExtraError, "openai"), (True, UsageError, "must have a supported version")],
)
def test_a_package_that_cannot_be_used_is_named(monkeypatch, is_installed, kind, said):
    real = builtins.__import__

    def refusing(name, *rest):
        if name == "interwhen.clients._openai_client":
            raise ImportError("no name of this kind")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)
    monkeypatch.setattr(_wrap, "find_spec", lambda name: object() if is_installed else None)
    with pytest.raises(kind, match=said):
        wrap(client())
