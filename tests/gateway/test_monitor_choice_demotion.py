"""The gateway demotes, if its operator asked for it, and says so in a header and a metric."""

from helpers import ASK, post
from interwhen.remedies import Abstain
from interwhen.testing.server import events
from watchers import word


def test_demoted_monitor_releases_text_and_is_reported(upstream, gateway):
    running = gateway(
        upstream(lambda _: events(["one\n", "BAD\n"], api="chat")),
        watchers=[word(remedy=Abstain())],
        reading="gate",
        detail="off",
        demotion={"above": 0.5, "calls": 2},
    )
    for _ in range(2):
        answer = post(running, {**ASK, "stream": True})
        assert "BAD" not in answer.text
        assert answer.headers["x-interwhen-monitors"] == "word"
        running.idle()
    answer = post(running, {**ASK, "stream": True})
    assert "BAD" in answer.text
    assert answer.headers["x-interwhen-monitors"] == "word (demoted)"
    assert running.metric('interwhen_monitor_demoted{monitor="word"}') == 1.0
    assert running.metric('interwhen_violations_total{monitor="word"}') == 3.0
    running.gateway.chooser.demotion.restore()
    assert "BAD" not in post(running, {**ASK, "stream": True}).text
    assert running.metric('interwhen_monitor_demoted{monitor="word"}') == 0.0
