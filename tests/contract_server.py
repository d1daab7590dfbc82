"""A scripted server that keeps the contract of `interwhen doctor --contract`, or breaks one line of it."""

import json

from interwhen.models import ConnectError
from interwhen.testing._server_script import data
from interwhen.testing.server import Head, ScriptedTransport, Send, reply

THOUGHT = "64 + 129 = 193\n193 × 3 = 579\n"
ANSWER = "The answer is 579, which is what was asked."


class ContractServer(ScriptedTransport):
    """A server that gives the same answer to each chat; *flaws* name what it does wrong or cannot do.

    *owner* is its name in the model list, and *context* its context length in tokens. With *tags*, reasoning is part of
    the text, between tags. With the flaw ``server``, requests for its pages raise :class:`ConnectError`.
    """

    def __init__(self, *flaws, owner="llamacpp", tags=False, context=1024):
        super().__init__(self.chat, owned_by=owner, pages=self.page)
        self.flaws = set(flaws)
        self.owner = owner
        self.tags = tags
        self.context = context

    def page(self, request):
        if "server" in self.flaws:
            raise ConnectError("no server is there")
        match request.path:
            case "/v1/models":
                card = {"id": "m", "owned_by": self.owner, "max_model_len": self.context}
                return reply(200, json.dumps({"data": [card]}).encode())
            case "/props":
                return reply(200, b'{"build_info": "9.8.7"}')
            case "/slots":
                return reply(200, json.dumps([{"is_processing": self.running > 0}]).encode())
            case _:
                return reply(404, b"{}")

    def _render(self, request):
        # With the flaw "closes", the template closes the reasoning of an unfinished message.
        if "closes" not in self.flaws:
            return super()._render(request)
        said = request.json["messages"][-1]
        if said["role"] == "user":
            return super()._render(request)
        return reply(200, json.dumps({"prompt": f"{said.get('reasoning_content')}</think>{said['content']}"}).encode())

    def chat(self, request):
        body = request.json
        if not request.path.endswith("chat/completions"):
            return reply(404, b'{"error": {"message": "no such path"}}')
        if len(str(body["messages"])) > 1024:
            if "too long" in self.flaws:
                return reply(400, b'{"error": {"message": "bad request"}}')
            return reply(400, b'{"error": {"message": "maximum context length is 1024 tokens"}}')
        if "refuses" in self.flaws and body["messages"][-1]["role"] == "assistant":
            return reply(400, b'{"error": {"message": "the last message must be of the user"}}')
        if not body["stream"]:
            return reply(200, b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}')
        if "tools" in body:
            return self.events([{"content": "none"}], "stop") if "calls" in self.flaws else self.call()
        deltas, reason = self.deltas(body["messages"][-1]), "stop"
        if body["max_tokens"] < len(deltas):
            deltas, reason = deltas[: body["max_tokens"]], "stop" if "length limit" in self.flaws else "length"
        if (stop := body.get("stop")) and "stop" not in self.flaws:
            whole = "".join(text for delta in deltas for text in delta.values())
            deltas = deltas[: whole.index(stop[0])] if stop[0] in whole else deltas
        if "stream" in self.flaws:
            reason = None
        if "at once" in self.flaws:
            deltas = [{"content": "".join(text for delta in deltas for text in delta.values())}]
        return self.events(deltas, reason)

    def deltas(self, last):
        # With the flaw "restarts", they are those of the whole answer.
        kept = last if last["role"] == "assistant" else {}
        thought, said = kept.get("reasoning_content", ""), kept.get("content", "")
        if "restarts" in self.flaws:
            thought = said = ""
        if self.tags:
            whole = f"<think>\n{THOUGHT}</think>\n{ANSWER}"
            return [{"content": char} for char in whole[len(said) :]]
        inside = THOUGHT[len(thought) :] if not said else ""
        if self.flaws & {"closes", "closes unseen"} and thought:
            inside = ""  # the chat template closes the reasoning
        return [{"reasoning_content": char} for char in inside] + [{"content": char} for char in ANSWER[len(said) :]]

    def call(self):
        function = {"name": "order", "arguments": '{"item": "bolts"' + ("" if "json" in self.flaws else "}")}
        return self.events([{"tool_calls": [{"index": 0, "id": "c", "function": function}]}], "tool_calls")

    def events(self, deltas, reason):
        parts = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        if reason is not None:
            parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if "usage" not in self.flaws:
            details = {} if "cached" in self.flaws else {"prompt_tokens_details": {"cached_tokens": 30}}
            parts.append({"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": len(deltas), **details}})
        end = () if reason is None else (Send(b"data: [DONE]\n\n"),)
        return (Head(200, {"content-type": "text/event-stream"}), *(Send(data(part)) for part in parts), *end)
