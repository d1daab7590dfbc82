"""A script for the scripted server that counts its tokens, for comparison with the counts that a caller gets."""

import json

from interwhen.testing.server import Head, Send, reply
from tests.clients.responses_writer import Writer

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def tokens_of(text):
    return [1000 + ord(char) for char in text]


class Counting:
    """Answers chats, completions and responses like *kind*: ``hosted``, ``vllm`` or ``llamacpp``.

    *answers* are the texts of the streams, in turn; the last one is repeated. ``prompts`` and ``generated`` have the tokens
    of each stream. A token of an answer is counted when it is sent; *size* is how many of them an event has.
    """

    def __init__(self, kind, *answers, size=1):
        self.kind = kind
        self.size = size
        self.answers = answers
        self.prompts = []
        self.generated = []
        self.bodies = []

    def __call__(self, request):
        body = request.json
        if request.path == "/tokenize":
            text = "".join(turn["content"] for turn in body["messages"]) if "messages" in body else body["prompt"]
            return reply(200, json.dumps({"tokens": tokens_of(text)}).encode())
        answer = self.answers[min(len(self.prompts), len(self.answers) - 1)]
        self.prompts.append(len(self.prompt_of(body)))
        self.generated.append(0)
        self.bodies.append(body)
        return self.stream(request, len(self.prompts) - 1, answer)

    def pages(self, request):
        owner = {"hosted": "openai", "vllm": "vllm", "llamacpp": "llamacpp"}[self.kind]
        if request.path.endswith("/models"):
            return reply(200, json.dumps({"data": [{"id": "m", "owned_by": owner}]}).encode())
        return reply(404, b"{}")

    def prompt_of(self, body):
        if isinstance(body.get("prompt"), list):
            return body["prompt"]
        given = body.get("prompt") or body.get("input") or body["messages"]
        return tokens_of(given if isinstance(given, str) else "".join(turn["content"] for turn in given))

    def usage(self, number, names=("prompt", "completion")):
        prompt, completion = self.prompts[number], self.generated[number]
        counts = {f"{names[0]}_tokens": prompt, f"{names[1]}_tokens": completion, "total_tokens": prompt + completion}
        counts[f"{names[0]}_tokens_details"] = {"cached_tokens": prompt // 2}
        counts[f"{names[1]}_tokens_details"] = {"reasoning_tokens": 1}
        return counts

    def stream(self, request, number, answer):
        api = request.path.removeprefix("/v1/")
        body = request.json
        limit = next((body[name] for name in LIMITS if body.get(name) is not None), len(answer))
        answer, reason = answer[:limit], "length" if limit < len(answer) else "stop"
        yield Head(200, {"content-type": "text/event-stream"})
        if api == "responses":
            yield from self.responses(body, number, answer, "completed" if reason == "stop" else "incomplete")
            return
        head = {"id": f"x{number}", "object": api, "created": 0, "model": "m"}
        has_ids = self.kind == "vllm" and body.get("return_token_ids")
        first = {"delta": {"role": "assistant", "content": ""}} if api == "chat/completions" else {"text": ""}
        more = {"prompt_token_ids": self.prompt_of(body)} if has_ids else {}
        if self.kind == "llamacpp" and body.get("return_progress"):
            yield event({**head, "choices": [{"index": 0, **first}], "prompt_progress": self.progress(number)})
        yield event({**head, **more, "choices": [{"index": 0, **first}]})
        for at in range(0, len(answer), self.size):
            text = answer[at : at + self.size]
            self.generated[number] += len(text)
            said = {"delta": {"content": text}} if api == "chat/completions" else {"text": text}
            ids = {"token_ids": tokens_of(text) if has_ids else None} if self.kind == "vllm" else {}
            yield event({**head, "choices": [{"index": 0, **said, "finish_reason": None, **ids}]})
        last = {"delta": {}} if api == "chat/completions" else {"text": ""}
        yield event({**head, "choices": [{"index": 0, **last, "finish_reason": reason}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            yield event({**head, "choices": [], "usage": self.usage(number)})
        yield Send(b"data: [DONE]\n\n")

    def responses(self, body, number, answer, status):
        writer = Writer(f"resp_{number}")
        if self.kind == "llamacpp" and body.get("return_progress"):
            writer.events[1]["prompt_progress"] = self.progress(number)
        writer.text(*answer)
        for each in writer.events:
            self.generated[number] += each["type"] == "response.output_text.delta"
            yield event(each)
        usage = self.usage(number, ("input", "output"))
        more = {"incomplete_details": {"reason": "max_output_tokens"}} if status == "incomplete" else {}
        writer.say(f"response.{status}", response=writer.response(status, usage=usage, **more))
        yield event(writer.events[-1])

    def progress(self, number):
        return {"total": self.prompts[number], "cache": self.prompts[number] // 2, "processed": self.prompts[number]}


def event(body):
    return Send(b"data: " + json.dumps(body).encode() + b"\n\n")
