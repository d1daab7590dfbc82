"""Code for the processes between ours and an untrusted program. It imports little of the standard library.

Each import adds to the start time of every program: ``dataclasses``, ``typing``, ``signal`` and ``pathlib`` are not
used here, except in `plan.py`, which only our process imports. Modules that need ``TYPE_CHECKING`` set it themselves.
"""
