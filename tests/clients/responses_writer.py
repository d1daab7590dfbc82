"""Scripts of the Responses API: the events of whole responses; and what has to hold of such events."""

import json

from interwhen.testing.server import Send, reply

TOOL = {"type": "function", "name": "move", "parameters": {"type": "object", "properties": {}, "required": ["to"]}}


class Writer:
    """Writes the events of one response."""

    def __init__(self, name="resp_1"):
        self.name = name
        self.events = []
        self.output = []
        self.say("response.created", response=self.response("in_progress"))
        self.say("response.in_progress", response=self.response("in_progress"))

    def response(self, status, **more):
        return {
            "id": self.name, "object": "response", "created_at": 0, "model": "m", "status": status,
            "output": list(self.output), "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "incomplete_details": None, "error": None, "instructions": None, "metadata": {}, "usage": None, **more,
        }  # fmt: skip

    def say(self, kind, **fields):
        self.events.append({"type": kind, "sequence_number": len(self.events), **fields})
        return self

    def reasoning(self, *texts):
        index, item_id = len(self.output), f"rs_{len(self.output)}"
        item = {"id": item_id, "type": "reasoning", "summary": []}
        self.say("response.output_item.added", output_index=index, item=item)
        place = {"item_id": item_id, "output_index": index, "summary_index": 0}
        for text in texts:
            self.say("response.reasoning_summary_text.delta", **place, delta=text)
        self.say("response.reasoning_summary_text.done", **place, text="".join(texts))
        item = {**item, "summary": [{"type": "summary_text", "text": "".join(texts)}]}
        self.say("response.output_item.done", output_index=index, item=item)
        self.output.append(item)
        return self

    def hidden_reasoning(self):
        # Reasoning that clients cannot read: no summary, and its content encrypted.
        index, item = len(self.output), {"id": f"rs_{self.name}_{len(self.output)}", "type": "reasoning", "summary": []}
        self.say("response.output_item.added", output_index=index, item={**item, "encrypted_content": "gAAA"})
        item = {**item, "encrypted_content": f"gAAA_{self.name}"}
        self.say("response.output_item.done", output_index=index, item=item)
        self.output.append(item)
        return self

    def text(self, *texts):
        index, item_id = len(self.output), f"msg_{self.name}_{len(self.output)}"
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        place = {"item_id": item_id, "output_index": index, "content_index": 0}
        self.say("response.output_item.added", output_index=index, item=item)
        self.say("response.content_part.added", **place, part={"type": "output_text", "text": "", "annotations": []})
        for text in texts:
            self.say("response.output_text.delta", **place, delta=text, logprobs=[])
        part = {"type": "output_text", "text": "".join(texts), "annotations": []}
        self.say("response.output_text.done", **place, text="".join(texts), logprobs=[])
        self.say("response.content_part.done", **place, part=part)
        item = {**item, "status": "completed", "content": [part]}
        self.say("response.output_item.done", output_index=index, item=item)
        self.output.append(item)
        return self

    def call(self, arguments, name="move"):
        index, item_id = len(self.output), f"fc_{len(self.output)}"
        item = {"id": item_id, "type": "function_call", "call_id": f"call_{self.name}_{index}", "name": name}
        item |= {"arguments": "", "status": "in_progress"}
        place = {"item_id": item_id, "output_index": index}
        self.say("response.output_item.added", output_index=index, item=item)
        for at in range(0, len(arguments), 4):
            self.say("response.function_call_arguments.delta", **place, delta=arguments[at : at + 4])
        self.say("response.function_call_arguments.done", **place, arguments=arguments, name=name)
        item = {**item, "arguments": arguments, "status": "completed"}
        self.say("response.output_item.done", output_index=index, item=item)
        self.output.append(item)
        return self

    def steps(self, status="completed", written=4, **more):
        usage = {"input_tokens": 3, "output_tokens": written, "total_tokens": 7}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        self.say(f"response.{status}", response=self.response(status, usage=usage, **more))
        return tuple(Send(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()) for event in self.events)

    def whole(self):
        return self.steps() and reply(200, json.dumps(self.events[-1]["response"]).encode())


def vet(seen):
    # Check the order, ids and texts of the events `seen`, as the API documents them; the SDK does not check them.
    # Return the finished items by their index.
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    texts, open_items, done_items = {}, {}, {}
    for event in seen:
        index = getattr(event, "output_index", None)
        if event.type == "response.output_item.added":
            assert index == len(open_items) + len(done_items)
            assert event.item.id not in {item.id for item in (*open_items.values(), *done_items.values())}
            open_items[index] = event.item
        elif event.type == "response.output_item.done":
            assert event.item.id == open_items.pop(index).id
            done_items[index] = event.item
            if event.item.type == "message":
                assert [part.text for part in event.item.content] == [
                    text for key, text in texts.items() if key[0] == index
                ]
        elif index is not None:
            assert event.item_id == open_items[index].id
        if event.type == "response.output_text.delta":
            key = index, event.content_index
            texts[key] += event.delta
            assert event.snapshot == texts[key]
        elif event.type == "response.content_part.added":
            assert (index, event.content_index) not in texts
            texts[index, event.content_index] = ""
        elif event.type == "response.output_text.done":
            assert event.text == texts[index, event.content_index]
    assert not open_items
    return done_items
