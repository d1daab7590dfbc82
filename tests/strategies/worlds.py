"""Models whose behaviour is known to the token: each character is one, and ``max_tokens`` is kept."""

import re

from interwhen import Claim, Monitor, Pass, Sampling, verifier
from interwhen.strategies import Question, attempt
from interwhen.testing import End, ScriptedModel

RIGHT = "2 + 2 = 4\nAnswer: 4"
WRONG = "2 + 2 = 5\nAnswer: 5"
PLAIN = "I guess.\nAnswer: 4"
SAMPLING = Sampling(temperature=0.5, max_tokens=60)


def read(text):
    answers = re.findall(r"^Answer: (\d+)$", text, re.MULTILINE)
    return answers[-1] if answers else None


def _answers(segment):
    match = re.search(r"^Answer: (\d+)$", segment.text, re.MULTILINE)
    if match is not None and match[1] == "4":
        yield Claim(key=match[0], span=segment.at(*match.span()))


@verifier(name="answer", worker="inline")
def _knows(_claim):
    return Pass("2 + 2 is 4", scope="answer")


KNOWS = Monitor(name="answer", verifier=_knows, extractor=_answers, scope="answer", delivery="observe")
"""Knows the task, and passes its right answer; of others it says nothing."""


def question(**options):
    return Question(
        **{"name": "q", "prompt": "Two and two?\n", "read": read, "monitors": ("arithmetic", KNOWS), **options}
    )


def writer(choose, **options):
    def script(request):
        text = choose(request)
        most = request.sampling.max_tokens
        if most is not None and len(text) > most:
            yield from text[:most]
            yield End("length")
        else:
            yield from text

    return ScriptedModel(script, **options)


def telling(*texts):
    # A prefix of one of its texts is continued by that text.
    first = []

    def choose(request):
        first.append(request.sampling.seed)
        at = 0 if request.sampling.temperature == 0 else request.sampling.seed - first[0]
        text = texts[at % len(texts)]
        return text[len(request.prefix) :] if text.startswith(request.prefix) else next_of(texts, request.prefix)

    return writer(choose)


def next_of(texts, prefix):
    return next((text[len(prefix) :] for text in texts if text.startswith(prefix)), "")


async def try_out(strategy, model, budget=1000, **options):
    asked = options.pop("question", None) or question()
    return await attempt(strategy, model, asked, budget=budget, **{"sampling": SAMPLING, **options})
