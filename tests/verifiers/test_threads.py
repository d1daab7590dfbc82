"""Checks and readers that several threads use at once do not mix their state."""

import threading

from interwhen import Segment, Span

from interwhen_verifiers._json_schema.compiler import Compiler, Node
from interwhen_verifiers.arithmetic import State, begin, extract, recognize, step


def beside(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_reading_in_one_thread_does_not_affect_another():
    line = "1 + 2 = 6"
    state = step(begin(None), Segment("x +", Span(0, 3), "answer"))[0]
    assert isinstance(state, State)
    segment = Segment(line, Span(4, 4 + len(line)), "answer")
    _, claims = step(state, segment)
    assert claims == []
    beside(lambda: list(extract(Segment(line, Span(0, len(line)), "answer"))))
    assert [segment.text[span.start - 4 : span.end - 4] for span in recognize(segment) if isinstance(span, Span)] == [
        "2 = 6"
    ]


def test_schema_expansion_count_is_per_thread():
    wide = {"anyOf": [{"type": "string"}] * 300}

    class Interrupting(dict):
        """A part of a schema during whose expansion another thread expands another part."""

        def items(self):
            beside(lambda: compiler.node(wide))
            return super().items()

    schema = {"anyOf": [Interrupting(type="integer"), *[{"type": "integer"}] * 200]}
    compiler = Compiler({"properties": {"a": schema, "b": wide}})
    assert compiler.node(schema) == Compiler(schema).node({"anyOf": [{"type": "integer"}] * 201})
    assert compiler.node(schema) != Node(())
