"""A monitor that refutes much more than it should observes only, if that was asked for, and is seen to."""

import logging

import interwhen
import pytest
from interwhen import Span, Unverified, UsageError
from interwhen.clients._calls import Settings
from interwhen.clients._demotion import Demotion
from interwhen.results import ViolationRecord
from watchers import passing, word

WORD = word()


def ended(*names):
    records = tuple(ViolationRecord(name, name, "k", Span(0, 1), "q", "w", "", True) for name in names)
    return Unverified(text="", reasoning="", answer="", finish_reason="stop", unverified_reasons=(), violations=records)


def deliveries(demotion, *monitors):
    return [monitor.delivery for monitor in Settings(monitors=monitors, demotion=demotion, reading="gate").deliveries()]


def test_only_monitors_above_the_refutation_limit_are_demoted(caplog):
    demotion, told = Demotion(above=0.5, calls=4), []
    demotion.on_change = lambda *what: told.append(what)
    both = (WORD, passing())
    with caplog.at_level(logging.WARNING, "interwhen"):
        for names in ((), ("word",), ("word",)):
            demotion.saw(both, ended(*names))
        assert deliveries(demotion, *both) == ["gate", "gate"], "the share is of whole windows"
        demotion.saw(both, ended("word"))
    assert deliveries(demotion, *both) == ["observe", "gate"]
    assert told == [("word", True)]
    assert "monitor.demoted" in caplog.text
    demotion.restore()
    assert deliveries(demotion, *both) == ["gate", "gate"]
    assert told[1:] == [("word", False)]


def test_a_refutation_share_at_the_limit_demotes_nothing():
    demotion = Demotion(above=0.5, calls=2)
    for number in range(10):
        demotion.saw((WORD,), ended(*(["word"] if number % 2 else [])))
    assert not demotion.demoted


def test_demotion_defaults_to_off_and_rejects_invalid_values():
    assert deliveries(None, WORD) == ["gate"]
    for options in ({"above": 0}, {"above": 1}, {"above": "x"}, {"above": 0.5, "calls": 0}):
        with pytest.raises(UsageError, match="Demotion"):
            Demotion(**options)
    with pytest.raises(UsageError, match="demotion"):
        interwhen.wrap(object(), [WORD], demotion=0.5)
