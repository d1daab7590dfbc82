"""Runs Python code inside the sandbox. The interpreter gets this file as text, so it imports no module of the package.

The task comes from descriptor 3; a returned value or an exception goes to descriptor 4. The untrusted program can write
to descriptor 4, too, so our process does not trust this data.
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
        exec(compile(source, "main.py", "exec"), scope)  # noqa: S102  (the purpose of the sandbox)
        if function is None:
            return
        value = scope[function](*arguments)  # type: ignore[operator]  # if it is not callable, that is reported
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
    # Threads and hooks of the code must not delay the end.
    os._exit(0)


def _written(value: object) -> str:
    # Raises TypeError, ValueError or RecursionError if it has no JSON form. A text is encoded without importing `json`,
    # which would take long.
    if type(value) is str:
        from _json import encode_basestring_ascii

        return encode_basestring_ascii(value)
    import json

    return json.dumps(value, allow_nan=False)


def _description(error: Exception) -> str:
    # Return the report on `error`: `raised`, its type, error number and message, separated by NUL characters. This
    # imports nothing: there may be no memory or descriptor left to import a module.
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
