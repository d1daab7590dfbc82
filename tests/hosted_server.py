"""A script for the scripted server that answers like hosted APIs, which hide the reasoning of their models.

Sources: OpenAI's API reference (`chat/create`, `responses/create`) and its errors for reasoning models; Anthropic's and
Google's pages on compatibility with the OpenAI SDK. Nothing here was recorded from these services.
"""

import json

from interwhen.testing.server import Head, Send, reply
from tests.clients.responses_writer import Writer

THOUGHTS = 128
"""How many tokens of reasoning an answer costs."""


def refused(message, *, param=None, code=None, status=400):
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return reply(status, json.dumps({"error": error}).encode())


class Hosted:
    """Answers like *vendor* ("openai", "anthropic" or "gemini")."""

    # Stream number n gets `answers[n]`, or the last one, and each request without streaming gets `fork`. `call` is the
    # name and the arguments of a tool call that the first chat stream sends instead. `summary` is a summary of the
    # reasoning (Responses API). `tokens` is how many tokens of reasoning the server counts.

    def __init__(self, vendor, *answers, summary="", tokens=THOUGHTS, call=None, fork="yes"):
        self.vendor = vendor
        self.answers = answers
        self.summary = summary
        self.tokens = tokens
        self.call = call
        self.fork = fork
        self.accepted = []

    def __call__(self, request):
        body = request.json
        is_chat = request.path.endswith("/chat/completions")
        if not is_chat and not request.path.endswith("/responses"):
            return reply(404, b'{"error":{"message":"Not Found"}}')
        refusal = self.refusal(body, is_chat=is_chat)
        if refusal is not None:
            return refusal
        number = sum(bool(each.get("stream")) for each in self.accepted)
        self.accepted.append(body)
        text = self.answers[min(number, len(self.answers) - 1)] if body.get("stream") else self.fork
        if is_chat:
            return self.chat(body, text, call=number == 0 and self.call)
        return self.response(body, text, number)

    def refusal(self, body, *, is_chat):
        if self.vendor == "anthropic":
            if body["messages"][-1]["role"] == "assistant":
                return refused(
                    "This model does not support assistant message prefill. "
                    "The conversation must end with a user message.",
                    code="invalid_request_error",
                )
            return None
        if self.vendor == "gemini":
            calls = [call for turn in body["messages"] for call in turn.get("tool_calls") or ()]
            signed = [call for call in calls if "thought_signature" in json.dumps(call.get("extra_content"))]
            if calls and not signed:
                error = {"code": 400, "message": "Function call is missing a thought_signature in functionCall parts."}
                return reply(400, json.dumps([{"error": {**error, "status": "INVALID_ARGUMENT"}}]).encode())
            return None
        known = {"model", "stream", "tools", "tool_choice", "reasoning_effort", "seed", "temperature"}
        known |= {"messages", "stream_options", "max_completion_tokens", "response_format"} if is_chat else set()
        known |= set() if is_chat else {"input", "instructions", "max_output_tokens", "reasoning", "include", "store"}
        if body.get("temperature", 1) != 1:
            message = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value"
            return refused(message, param="temperature", code="unsupported_value")
        for name in ("max_tokens", "stop", "logprobs", "top_p"):
            if name in body and is_chat:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return refused(message, param=name, code="unsupported_parameter")
        for name in body:
            if name not in known:
                return refused(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        return None

    def usage(self):
        usage = {"prompt_tokens": 10, "completion_tokens": 20 + self.tokens, "total_tokens": 30 + self.tokens}
        if self.vendor == "openai":
            usage["completion_tokens_details"] = {"reasoning_tokens": self.tokens, "audio_tokens": 0}
        if self.vendor == "gemini":
            usage["completion_tokens"] = 20
        return usage

    def chat(self, body, text, call):
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            cut = self.tokens >= body.get("max_completion_tokens", body.get("max_tokens", 1 << 30))
            choice = {"index": 0, "finish_reason": "length" if cut else "stop"}
            message = {"role": "assistant", "content": "" if cut else text}
            whole = {**head, "object": "chat.completion", "choices": [{**choice, "message": message}]}
            return reply(200, json.dumps({**whole, "usage": self.usage()}).encode())
        deltas = [
            {"role": "assistant", "content": ""},
            *({"content": word} for word in text.split(" ") for word in (word + " ",)),
        ]
        deltas[-1]["content"] = deltas[-1]["content"].rstrip(" ")
        if call:
            made = {"index": 0, "id": "call_1", "type": "function", "function": {"name": call[0], "arguments": call[1]}}
            if self.vendor == "gemini":
                made["extra_content"] = {"google": {"thought_signature": "c2ln"}}
            deltas = [{"role": "assistant", "content": None, "tool_calls": [made]}]
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        reason = "tool_calls" if call else "stop"
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({**head, "choices": [], "usage": self.usage()})
        sends = [Send(f"data: {json.dumps(chunk)}\n\n".encode()) for chunk in chunks]
        return (Head(200, {"content-type": "text/event-stream"}), *sends, Send(b"data: [DONE]\n\n"))

    def response(self, body, text, number):
        writer = Writer(f"resp_{number}")
        if self.summary:
            writer.reasoning(self.summary)
        else:
            writer.hidden_reasoning()
        writer.text(*(word + " " for word in text.split(" ")[:-1]), text.split(" ")[-1])
        usage = {
            "input_tokens": 10,
            "output_tokens": 20 + self.tokens,
            "total_tokens": 30 + self.tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": self.tokens},
        }
        status = "completed"
        more = {}
        if not body.get("stream") and self.tokens >= body.get("max_output_tokens", 1 << 30):
            status, more = "incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}
            writer.output = writer.output[:1]
        writer.say(f"response.{status}", response=writer.response(status, usage=usage, **more))
        if not body.get("stream"):
            return reply(200, json.dumps(writer.events[-1]["response"]).encode())
        sends = [Send(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode()) for each in writer.events]
        return (Head(200, {"content-type": "text/event-stream"}), *sends)
