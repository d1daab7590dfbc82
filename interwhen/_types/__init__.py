"""The shared data types of interwhen, which the other packages import. No module here imports another package.

Start with `monitors.py` to write a verifier, with `results.py` to read a result.
"""

import importlib
import sys
from collections.abc import Callable, Mapping

__version__ = "0.1.0"


def lazy_names(facade: str, later: Mapping[str, tuple[str, ...]] | None = None) -> Callable[[str], object]:
    """Return the ``__getattr__`` of the module *facade*: it imports a name of *later* when it is first used.

    *later* has the names by the module that defines them; a module without names is itself the name.
    """
    homes = {name: module for module, names in (later or {}).items() for name in names or (module.rpartition(".")[2],)}

    def get(name: str) -> object:
        if name in homes:
            value: object = importlib.import_module(homes[name])
            if homes[name] != f"{facade}.{name}":
                value = getattr(value, name)
            setattr(sys.modules[facade], name, value)  # this function is not called again for it
            return value
        from interwhen._types.moved_names import advice

        # Python replaces the message of an AttributeError in "from ... import".
        if text := advice(facade, name):
            raise ImportError(text)
        raise AttributeError(f"module {facade!r} has no attribute {name!r}")

    return get
