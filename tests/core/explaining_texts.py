"""Generates answers that explain code and use the names of the offered tools in it, but call no tool."""

import random

from interwhen._core.messages import ToolOffer

TOOLS = {
    "delete": {"path": "string", "force": "boolean"},
    "search": {"query": "string", "limit": "integer"},
    "read_file": {"path": "string"},
    "add": {"a": "number", "b": "number"},
    "get_weather": {"city": "string", "days": "integer"},
}
EXPLAINED = ToolOffer(tools=TOOLS, in_field=True)
_VALUES = {
    "path": '"notes.txt"',
    "force": "True",
    "query": '"cats"',
    "limit": "10",
    "a": "2",
    "b": "3",
    "city": '"Oslo"',
}
_PARTS = (
    "The function `{name}({given})` takes {count} arguments.",
    "You can call `{name}({given})` to do this.",
    "Use {name}({names}) when you have the values at hand.",
    "Calling {name}({given}) returns a dictionary, which the next line prints.",
    "{name}({names}) is fast, because it keeps an index.",
    "- `{name}({names})`: does the work.\n- `help()`: prints the usage.",
    "```python\nresult = {name}({given})\nprint(result)\n```",
    "```python\ndef {name}({names}):\n    return run({names})\n\n\n{name}({given})\n```",
    '```python\ntools = [{name}(each) for each in values]\nTOOLS = {{"{name}": {name}}}\n```',
    "```js\nfunction {name}({names}) {{\n  return fetch(`/{name}?${{{first}}}`);\n}}\n{name}({{{first}}});\n```",
    "```cpp\n#include <functional>\nstd::function<void()> f = [] {{ {name}({given}); }};\n```",
    "```sh\ncurl -d '{{\"{first}\": {value}}}' http://localhost/{name}\n```",
    "def {name}({names}):\n    pass",
    "The signature is {name}({typed}) -> dict.",
    "**{name}({names})**\n\nIt {name}s an item. The parameter {first} is required.",
    "The method client.{name}({given}) does the same, and so does self.{name}({names}).",
    "In Java you would write `client.{name}({given});` instead.",
    'The URL is /api/{name}?{first}=1, and the answer is {{"ok": true, "count": 3}}.',
    'A request has the form {{"{first}": {value}}}.',
    'The table of operations is {{"create": 1, "{name}": 2}}.',
    "See [{name}](https://example.org/{name}) for more about {name}.",
    "The <input> element and the <button> call {name} when the user clicks.",
    '`<button onclick="{name}({value})">` is the old way.',
    "| name | arguments |\n|---|---|\n| {name} | {names} |\n| help | none |",
    '{{"name": "{name}", "parameters": {{"type": "object", "properties": {{"{first}": {{"type": "string"}}}}}}}}',
    "In a test: `assert {name}({given}) == {name}({given})`.",
    "If {name}({first}={value}) fails, then try again.",
    "{name} is a verb here. We {name} what we need; nothing else happens.",
    "1. Open the file.\n2. Call {name} with {first}={value}.\n3. Close the file.",
    "Action items: {name} the old entries, and search for new ones.",
)


def explaining_texts(count, seed=1):
    rng = random.Random(seed)
    for _ in range(count):
        said = []
        for part in rng.sample(_PARTS, rng.randrange(3, 7)):
            name = rng.choice(list(TOOLS))
            names = list(TOOLS[name])
            said.append(
                part.format(
                    name=name,
                    names=", ".join(names),
                    typed=", ".join(f"{each}: str" for each in names),
                    given=", ".join(f"{each}={_VALUES.get(each, '1')}" for each in names),
                    first=names[0],
                    value=_VALUES[names[0]],
                    count=len(names),
                )
            )
        yield "\n\n".join(said)
