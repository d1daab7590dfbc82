"""Guarded tools, plain and async."""

from interwhen import guard


def make(kind, ran, **options):
    options.setdefault("context", ["ctx"])
    if kind == "plain":

        @guard(**options)
        def move(to, *, ctx=None):
            """Move."""
            ran.append(to)
            return f"moved to {to}"
    else:

        @guard(**options)
        async def move(to, *, ctx=None):
            """Move."""
            ran.append(to)
            return f"moved to {to}"

    return move


async def use(tool, *args, **options):
    returned = tool(*args, **options)
    return await returned if hasattr(returned, "__await__") else returned
