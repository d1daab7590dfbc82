"""A store that a worker has prepared: one accepted answer."""

import re

from interwhen import Claim, Monitor, Pass, verifier
from interwhen.precompute import Precomputer
from interwhen.precompute._access import open_place
from interwhen.precompute._contexts import WorkerSettings, note_worker
from interwhen.testing import ScriptedModel

TEXT = "Jo earns 45 dollars a day.\n\nJo works 4 days.\n\nThe shop where Jo works sells lamps, chairs and red tables."
QUESTION = "How many dollars does Jo earn?"
ANSWER = "45 * 4 = 180\nAnswer: 180"


@verifier(name="lines", worker="inline")
def check(_claim: Claim):
    return Pass("read", scope="answer")


def lines(segment):
    for match in re.finditer(r"\S[^\n]*", segment.text):
        yield Claim(key=match[0], span=segment.at(*match.span()))


class Named(ScriptedModel):
    """A scripted model with the name that an adapter would give to *model*."""

    def __init__(self, model, say):
        super().__init__(say)
        self._name = f"{model}@server"

    @property
    def name(self):
        return self._name


def named(model, say=("",)):
    return Named(model, say if callable(say) else list(say))


async def prepare(place, name="wages", *, text=TEXT, model="m", say=(ANSWER,)):
    # Fails if an item is not accepted.
    store = open_place(str(place), creates=True)
    try:
        asleep = named(model, say)
        specs = [{"name": "answers", "questions": [QUESTION]}]
        watch = Monitor(name="lines", verifier=check, extractor=lines, scope="answer")
        pre = Precomputer(store, asleep, [watch], producers=specs, debounce=0.0)
        await pre.add(name, {"all": text} if "\n\n" not in text else {"all": text.replace("\n\n", "\n")})
        around = pre.key_settings
        options = {"answers": {"questions": [QUESTION]}}
        note_worker(store, name, WorkerSettings(around.model, around.tokenizer, around.judges, ("answers",), options))
        done = await pre.work()
        assert {each.outcome for each in done} <= {"accepted"}, done
    finally:
        store.close()
