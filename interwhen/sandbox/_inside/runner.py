"""Runs Python code inside: its text is given to the interpreter there, so it imports nothing of ours.

The task comes from descriptor 3; what a function returned, or what was raised, goes to descriptor 4. Both belong to
the untrusted program as much as to this code: our side believes it as much as the program itself.
"""

from __future__ import annotations

import marshal
import os
import sys


def _run() -> None:
    own = os.getpid()
    with open(3, "rb") as file:
        source, function, arguments = marshal.load(file)  # noqa: S302  (our side wrote it)
    scope: dict[str, object] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        exec(compile(source, "main.py", "exec"), scope)  # noqa: S102  (what all this is for)
        if function is None:
            return
        value = scope[function](*arguments)  # type: ignore[operator]  # if it is none, that is told
        text = "value\0" + _written(value)
    except Exception as error:  # noqa: BLE001  (it is raised again)
        scope.clear()
        if os.getpid() == own:
            _tell(_description(error))
        # Without the line of this file in its traceback.
        raise error.with_traceback(error.__traceback__ and error.__traceback__.tb_next) from None
    if os.getpid() == own:
        _tell(text)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and hooks that the code left behind have no say in when it ends.
    os._exit(0)


def _written(value: object) -> str:
    """Return *value* as JSON. A text needs no import, which would take as long as the start of the interpreter."""
    if type(value) is str:
        from _json import encode_basestring_ascii

        return encode_basestring_ascii(value)
    import json

    return json.dumps(value, allow_nan=False)


def _description(error: Exception) -> str:
    """Describe *error* without importing anything: there may be no memory or descriptor left for that."""
    number = error.errno if isinstance(error, OSError) else None
    try:
        message = str(error)[:1000]
    except Exception:  # noqa: BLE001  (it is their code that runs here)
        message = ""
    return f"raised\0{type(error).__name__}\0{number}\0{message}"


def _tell(text: str) -> None:
    data = text.encode(errors="replace")
    while data:
        data = data[os.write(4, data) :]


_run()
