"""A script for the scripted server that answers like vLLM with a reasoning parser, ids of tokens included."""

import msgspec
from interwhen.testing._server_script import data
from interwhen.testing.server import Head, Send, reply

TAGS = {"<think>": 1, "</think>": 2, "<|end|>": 3}
TEXTS = {number: tag for tag, number in TAGS.items()}


def ids_of(text):
    ids = []
    while text:
        tag = next((tag for tag in TAGS if text.startswith(tag)), None)
        ids.append(TAGS[tag] if tag else 1000 + ord(text[0]))
        text = text[len(tag) if tag else 1 :]
    return ids


def text_of(ids):
    return "".join(TEXTS.get(number) or chr(number - 1000) for number in ids)


class Vllm:
    """A script that answers like vLLM: `/tokenize`, chats with ids, completions from ids.

    *text* is the first answer. A continuation is the rest of it, or a correction if the kept text ends with "60". With
    *opened*, the prompt ends with the opening tag of the reasoning. Without *tokenizes*, there is no `/tokenize`.
    Without *parser*, the reasoning is part of the content, between tags.
    """

    def __init__(self, *, opened=False, tokenizes=True, parser=True, text="<think>59 + 1 = 61\n</think>It is 61"):
        self.prompt = "59 + 1?" + ("<think>" if opened else "")
        self.first = text.removeprefix("<think>") if opened else text
        self.tokenizes = tokenizes
        self.parser = parser
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
            if not self.parser:
                steps.append(({"delta": {"content": text}}, [number]))
            elif text in TAGS:
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
        # vLLM 0.32 sends these fields also to callers who did not ask, with null.
        for event, (_, ids) in zip(events, steps, strict=True):
            event["choices"][0]["token_ids"] = ids if asked else None
        events[0]["prompt_token_ids"] = ids_of(self.prompt) if asked else None
        last = {"id": "v", "choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
        return (
            Head(200, {"content-type": "text/event-stream"}),
            *(Send(data(event)) for event in [*events, last]),
            Send(b"data: [DONE]\n\n"),
        )


TOOLS = [
    {
        "type": "function",
        "function": {"name": "buy", "parameters": {"type": "object", "properties": {"eggs": {"type": "integer"}}}},
    }
]
CALL = '<tool_call>\n{"name": "buy", "arguments": {"eggs": 60}}\n</tool_call>'


class Caller(Vllm):
    """Like :class:`Vllm`, but each continuation from ids is *said*, a text with a tool call."""

    said = f"\n</think>I buy. {CALL}"

    def __call__(self, request):
        body = request.json
        if isinstance(body.get("prompt"), list):
            self.continued.append(text_of(body["prompt"]))
            return self.stream([({"text": char}, ids_of(char)) for char in self.said], body.get("return_token_ids"))
        return super().__call__(request)


class LlamaCpp(Vllm):
    """A script that answers like llama.cpp: `/apply-template`, `/tokenize`, `/completion` from ids."""

    def __call__(self, request):
        body = request.json
        match request.path:
            case "/apply-template":
                assert body["messages"]
                return reply(200, msgspec.json.encode({"prompt": self.prompt}))
            case "/tokenize":
                self.tokenized.append(body["content"])
                return reply(200, msgspec.json.encode({"tokens": ids_of(body["content"])}))
            case "/completion":
                return self.native(body)
        return super().__call__(request)

    def native(self, body):
        raw = text_of(body["prompt"])
        self.continued.append(raw)
        # The model's special tokens are shown only if they are asked for.
        texts = [text if text not in TAGS or text in body["preserved_tokens"] else "" for text in self.parts(raw)]
        last = {"content": "", "tokens": [], "stop": True, "stop_type": "eos", "tokens_predicted": len(texts)}
        last |= {"tokens_evaluated": len(body["prompt"]), "timings": {"cache_n": len(body["prompt"]) - 1}}
        if not body["stream"]:
            return reply(200, msgspec.json.encode({**last, "content": "Hi", "stop_type": "limit"}))
        events = [
            {"index": 0, "content": text, "tokens": ids_of(text) if body["return_tokens"] else [], "stop": False}
            for text in texts
        ]
        return (
            Head(200, {"content-type": "text/event-stream"}),
            *(Send(data(event)) for event in [*events, last]),
        )

    def parts(self, raw):
        said = raw.removeprefix(self.prompt)
        rest = (
            self.first[len(said) :]
            if self.first.startswith(said)
            else "\n</think>It is 60"
            if raw[-2:] == "60"
            else "!"
        )
        return [text_of([number]) for number in ids_of(rest)]


class Sglang(LlamaCpp):
    """A script that answers like SGLang, by its documentation and source: ids of a chat, `/generate` from ids.

    *incremental* is the server's option ``--incremental-streaming-output``.
    """

    def __init__(self, *, incremental=False, **options):
        super().__init__(**options)
        self.incremental = incremental
        self.sampled = []

    def __call__(self, request):
        body = request.json
        if request.path == "/tokenize":
            assert body["add_special_tokens"] is False
            self.tokenized.append(body["prompt"])
            return reply(200, msgspec.json.encode({"tokens": ids_of(body["prompt"]), "count": 1, "max_model_len": 1}))
        if request.path == "/generate":
            return self.generate(body)
        if body.get("stream") and body.get("return_token_ids"):
            message = "return_token_ids is not supported with streaming on /v1/chat/completions."
            return reply(400, msgspec.json.encode({"object": "error", "message": message, "code": 400}))
        if body.get("return_prompt_token_ids"):
            assert not body.get("stream")
            choice = {"index": 0, "message": {"content": "!"}, "finish_reason": "length"}
            return reply(200, msgspec.json.encode({"choices": [{**choice, "prompt_token_ids": ids_of(self.prompt)}]}))
        return Vllm.__call__(self, request)

    def generate(self, body):
        raw = text_of(body["input_ids"])
        self.continued.append(raw)
        self.sampled.append(body["sampling_params"])
        assert "max_new_tokens" in body["sampling_params"], "the default of 128 tokens would cut the answer"
        assert body["sampling_params"]["skip_special_tokens"] is False
        texts = self.parts(raw) if body["stream"] else ["Hi"]
        ids = [ids_of(text) for text in texts]
        events = []
        for at in range(1, len(texts) + 1):
            start = at - 1 if self.incremental and body["stream"] else 0
            meta = {"id": "g1", "prompt_tokens": len(body["input_ids"]), "completion_tokens": sum(map(len, ids[:at]))}
            meta |= {"cached_tokens": len(body["input_ids"]) - 1, "finish_reason": None}
            if at == len(texts):
                meta["finish_reason"] = {"type": "stop", "matched": 3}
            if body.get("return_logprob"):
                meta["output_token_logprobs"] = [
                    [-0.5, each[0], text] for text, each in zip(texts[start:at], ids[start:at], strict=True)
                ]
                meta["output_top_logprobs"] = [[[-0.5, 1, "a"], [-1.5, 2, "b"]] for _ in range(start, at)]
            joined = [number for each in ids[start:at] for number in each]
            events.append({"text": "".join(texts[start:at]), "output_ids": joined, "meta_info": meta})
        if not body["stream"]:
            return reply(200, msgspec.json.encode(events[-1]))
        return (
            Head(200, {"content-type": "text/event-stream"}),
            *(Send(data(event)) for event in events),
            Send(b"data: [DONE]\n\n"),
        )
