"""Checks and readers that several threads use at once do not mix their state."""

import threading

from interwhen import Segment, Span

from interwhen_verifiers._json_schema.compiler import Compiler, Node
from interwhen_verifiers.arithmetic import State, begin, extract, recognize, step


def beside(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_a_line_that_continues_another_is_not_read_as_another_thread_reads_it_alone():
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


def test_two_threads_that_expand_a_schema_count_apart():
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
