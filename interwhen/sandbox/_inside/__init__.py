"""Code between our process and an untrusted program, in a process of its own, with little of the standard library.

Each import counts in the start of every program: no ``dataclasses``, ``typing``, ``signal`` or ``pathlib`` here, which
together would double it. A ``TYPE_CHECKING`` that is set by hand is known to type checkers by its name.
"""
