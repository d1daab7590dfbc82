"""A script for the scripted server that answers like vLLM with a reasoning parser, ids of tokens included."""

import msgspec
from interwhen.testing.server import Head, Send, data, reply

TAGS = {"<think>": 1, "</think>": 2, "<|end|>": 3}
TEXTS = {number: tag for tag, number in TAGS.items()}


def ids_of(text):
    """Tokenize as the scripted server does: a tag is one token, everything else a token a character."""
    ids = []
    while text:
        tag = next((tag for tag in TAGS if text.startswith(tag)), None)
        ids.append(TAGS[tag] if tag else 1000 + ord(text[0]))
        text = text[len(tag) if tag else 1 :]
    return ids


def text_of(ids):
    return "".join(TEXTS.get(number) or chr(number - 1000) for number in ids)


class Vllm:
    """A script that answers like vLLM with a reasoning parser: `/tokenize`, chats with ids, completions from ids."""

    def __init__(self, *, opened=False, tokenizes=True, text="<think>59 + 1 = 61\n</think>It is 61"):
        self.prompt = "Q" + ("<think>" if opened else "")
        self.first = text.removeprefix("<think>") if opened else text
        self.tokenizes = tokenizes
        self.continued = []
        self.tokenized = []

    def __call__(self, request):
        body = request.json
        if request.path.endswith("/tokenize"):
            if not self.tokenizes:
                return reply(404, b'{"detail":"Not Found"}')
            text = self.prompt if "messages" in body else body["prompt"]
            self.tokenized.append(text)
            return reply(200, msgspec.json.encode({"count": 0, "tokens": ids_of(text), "max_model_len": 1}))
        if not body.get("stream"):
            if isinstance(body.get("prompt"), list):
                self.continued.append(text_of(body["prompt"]))
            whole = {"index": 0, "finish_reason": "stop", "text": "Hi", "message": {"content": "Hi"}}
            return reply(200, msgspec.json.encode({"choices": [whole]}))
        if request.path.endswith("/chat/completions"):
            return self.chat(body)
        asked = body["prompt"]
        raw = asked if isinstance(asked, str) else text_of(asked)
        self.continued.append(raw)
        said = raw.removeprefix(self.prompt)
        if self.first.startswith(said):
            rest = self.first[len(said) :]
        else:
            rest = "\n</think>It is 60" if raw.endswith("60") else "!"
        return self.stream([({"text": char}, ids_of(char)) for char in rest], asked=body.get("return_token_ids"))

    def chat(self, body):
        steps, field = [], "content" if not self.prompt.endswith("<think>") else "reasoning"
        for number in ids_of(self.first):
            text = text_of([number])
            if text in TAGS:
                field = "reasoning" if text == "<think>" else "content"
                steps.append(({"delta": {}}, [number]))
            else:
                steps.append(({"delta": {field: text}}, [number]))
        # A first event with the role and the ids of the prompt, as vLLM 0.32 sends it.
        return self.stream(
            [({"delta": {"role": "assistant", "content": ""}}, None), *steps], body.get("return_token_ids")
        )

    def stream(self, steps, asked):
        events = [{"id": "v", "choices": [{"index": 0, "finish_reason": None, **choice}]} for choice, _ in steps]
        if asked:
            for event, (_, ids) in zip(events, steps, strict=True):
                event["choices"][0]["token_ids"] = ids
            events[0]["prompt_token_ids"] = ids_of(self.prompt)
        last = {"id": "v", "choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
        return (
            Head(200, {"content-type": "text/event-stream"}),
            *(Send(data(event)) for event in [*events, last]),
            Send(b"data: [DONE]\n\n"),
        )
