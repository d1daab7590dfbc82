"""Calls sync and async clients in the same way, so that one test covers both kinds."""

import inspect

import openai

KINDS = {"async": openai.AsyncOpenAI, "sync": openai.OpenAI}


async def done(value):
    return await value if inspect.isawaitable(value) else value


async def in_its_way(client, call):
    # Await `call` if `client` is async, else run it in a thread. Return its result.
    if isinstance(client, openai.AsyncOpenAI):
        return await call()
    import anyio.to_thread

    return await anyio.to_thread.run_sync(call)


async def read(stream):
    if hasattr(stream, "__aiter__"):
        return [chunk async for chunk in stream]
    import anyio.to_thread

    return await anyio.to_thread.run_sync(list, stream)


async def ask(client, api="chat", **options):
    # A sync client is called in a thread, so that the test's own loop continues.
    options = {"model": "m", **options}
    if api == "chat":
        options.setdefault("messages", [{"role": "user", "content": "q"}])
        create = client.chat.completions.create
    elif api == "completions":
        options.setdefault("prompt", "q")
        create = client.completions.create
    else:
        options.setdefault("input", "q")
        create = client.responses.create
    if isinstance(client, openai.AsyncOpenAI):
        return await create(**options)
    import anyio.to_thread

    return await anyio.to_thread.run_sync(lambda: create(**options))


async def outcome(client, api="chat", **options):
    # The exception is `None` if none was raised.
    seen = []
    try:
        answer = await ask(client, api, **options)
        if options.get("stream"):
            if hasattr(answer, "__aiter__"):
                async for chunk in answer:
                    seen.append(chunk)  # noqa: PERF401  what came before an error counts
            else:
                import anyio.to_thread

                await anyio.to_thread.run_sync(lambda: seen.extend(found_one for found_one in _each(answer, seen)))
        else:
            seen.append(answer)
    except Exception as error:  # noqa: BLE001
        return seen, error
    return seen, None


def _each(stream, seen):
    for chunk in stream:
        seen.append(chunk)
    return ()


def shown(chunk):
    return type(chunk), chunk.model_dump(), chunk.model_fields_set, chunk.model_extra
