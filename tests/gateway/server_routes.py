"""The routes of servers that a gateway may stand before, and the page about them.

``python tests/gateway/server_routes.py > docs/routes.md`` writes the page; a test compares it with the code.
"""

import sys

from interwhen.gateway._routes import DECISIONS, route_of

SOURCES = {
    "vLLM": "the API routers in the folders of `vllm/entrypoints`: `openai/responses` (commit f6e9325), "
    "`scale_out/render` (15a3fd4), `scale_out/derender` (a7f284a), `serve/disagg` (063e5a8), `serve/tokenize` (045d757), "
    "`serve/lora` (27873ca), `pooling/scoring` (facb56e), `pooling/pooling` (f6e9325), `pooling/embed` (f264990), "
    "`speech_to_text` (082b838), `openai/realtime` (00bd149), `openai/generative_scoring` (391d7b3), `anthropic` "
    "(01540b7), `cohere` (02969a4) and `sagemaker` (be3e4d0). `chat/completions/batch` is in later versions of "
    "`openai/chat_completion` than c0bc596",
    "llama.cpp": "`tools/server/server.cpp` (commit 00dd081), without the routes of its router mode",
    "LiteLLM": "`litellm/proxy/_types.py`, `LiteLLMRoutes` (commit 00025c8)",
    "Ollama": "`server/routes.go`, `GenerateRoutes` (commit 0018813)",
}

SERVERS = {
    "vLLM": """
        POST /v1/chat/completions
        POST /v1/completions
        POST /v1/responses
        GET /v1/responses/{id}
        POST /v1/responses/{id}/cancel
        POST /v1/chat/completions/batch
        POST /v1/chat/completions/render
        POST /v1/completions/render
        POST /v1/chat/completions/derender
        POST /v1/completions/derender
        POST /v1/messages
        POST /v1/messages/count_tokens
        POST /v1/embeddings
        POST /v1/score
        POST /v1/rerank
        POST /v1/audio/transcriptions
        POST /v1/audio/translations
        GET /v1/realtime
        GET /v1/models
        POST /v1/load_lora_adapter
        POST /v1/unload_lora_adapter
        POST /v2/rerank
        POST /score
        POST /rerank
        POST /pooling
        POST /classify
        POST /generative_scoring
        POST /tokenize
        POST /detokenize
        GET /tokenizer_info
        POST /inference/v1/generate
        POST /abort_requests
        POST /invocations
        GET /ping
        POST /cohere/v2/chat
        POST /cohere/v2/chat/render
    """,
    "llama.cpp": """
        POST /v1/chat/completions
        POST /v1/completions
        POST /v1/responses
        POST /v1/chat/completions/control
        POST /v1/chat/completions/input_tokens
        POST /v1/responses/input_tokens
        POST /v1/messages
        POST /v1/messages/count_tokens
        POST /v1/embeddings
        POST /v1/rerank
        POST /v1/reranking
        POST /v1/audio/transcriptions
        GET /v1/models
        GET /v1/health
        GET /v1/stream/{id}
        DELETE /v1/stream/{id}
        GET /v1/streams
        POST /completion
        POST /completions
        POST /chat/completions
        POST /chat/completions/input_tokens
        POST /responses
        POST /responses/input_tokens
        POST /audio/transcriptions
        POST /infill
        POST /embedding
        POST /embeddings
        POST /rerank
        POST /reranking
        POST /apply-template
        POST /tokenize
        POST /detokenize
        GET /models
        GET /props
        POST /props
        GET /lora-adapters
        POST /lora-adapters
        GET /slots
        POST /slots/{id}
        GET /tools
        POST /tools
    """,
    "LiteLLM": """
        POST /v1/chat/completions
        POST /v1/completions
        POST /v1/responses
        GET /v1/responses/{id}
        DELETE /v1/responses/{id}
        GET /v1/responses/{id}/input_items
        POST /v1/responses/{id}/cancel
        POST /v1/messages
        POST /v1/messages/count_tokens
        POST /v1/embeddings
        POST /v1/moderations
        POST /v1/rerank
        POST /v1/images/generations
        POST /v1/images/edits
        POST /v1/audio/speech
        POST /v1/audio/transcriptions
        POST /v1/videos
        GET /v1/videos/{id}
        GET /v1/videos/{id}/content
        POST /v1/videos/{id}/remix
        POST /v1/batches
        GET /v1/batches/{id}
        POST /v1/batches/{id}/cancel
        POST /v1/files
        GET /v1/files/{id}
        GET /v1/files/{id}/content
        DELETE /v1/files/{id}
        GET /v1/fine_tuning/jobs
        POST /v1/fine_tuning/jobs
        POST /v1/fine_tuning/jobs/{id}/cancel
        POST /v1/assistants
        GET /v1/assistants/{id}
        POST /v1/threads
        GET /v1/threads/{id}
        GET /v1/threads/{id}/messages
        POST /v1/threads/{id}/messages
        POST /v1/threads/{id}/runs
        POST /v1/vector_stores
        POST /v1/vector_stores/{id}/search
        GET /v1/vector_stores/{id}/files
        GET /v1/vector_stores/{id}/files/{id}
        GET /v1/vector_stores/{id}/files/{id}/content
        GET /v1/vector_store/list
        POST /v1/search
        POST /v1/search/{id}
        POST /v1/ocr
        POST /v1/rag/ingest
        POST /v1/rag/query
        POST /v1/containers
        GET /v1/realtime
        GET /v1/models
        GET /v1/models/{id}
        GET /v1/model/info
        POST /v1/skills
        GET /v1/skills/{id}
        POST /v1/agents
        GET /v1/agents/{id}
        POST /v1/mcp/server
        POST /chat/completions
        POST /cursor/chat/completions
        POST /engines/{id}/chat/completions
        POST /engines/{id}/completions
        POST /openai/deployments/{id}/chat/completions
        POST /utils/token_counter
        POST /models/{id}:generateContent
        POST /models/{id}:streamGenerateContent
        POST /v1beta/models/{id}:generateContent
        POST /v1beta/interactions
        POST /anthropic/v1/messages
        POST /vllm/v1/chat/completions
        POST /a2a/{id}/message/send
        POST /a2a/{id}/message/stream
    """,
    "Ollama": """
        POST /v1/chat/completions
        POST /v1/completions
        POST /v1/responses
        POST /v1/messages
        POST /v1/embeddings
        POST /v1/images/generations
        POST /v1/images/edits
        POST /v1/audio/transcriptions
        GET /v1/models
        GET /v1/models/{id}
        POST /api/generate
        POST /api/chat
        POST /api/embed
        POST /api/embeddings
        GET /api/tags
        GET /api/ps
        GET /api/status
        GET /api/version
        POST /api/show
        POST /api/create
        POST /api/copy
        POST /api/pull
        POST /api/push
        DELETE /api/delete
        POST /api/blobs/{id}
        POST /api/me
        POST /api/signout
        POST /api/experimental/web_search
        POST /api/experimental/web_fetch
    """,
}

MODES = {"open": "by default", "passing": "`--pass-unsupervised`", "locked": "`--locked`"}
TOLD = {
    "supervise": "supervised",
    "pass": "passed on purpose",
    "pass unsupervised": "passed, counted as unsupervised",
    "refuse": "refused (403)",
}
KINDS = {
    "supervised": "what a model writes, read by the monitors",
    "plain": "no text of a model: lists, numbers, tokens",
    "managed": "files, jobs, deletions: no text of a model",
    "stored": "what a model wrote earlier",
    "generated": "what a model writes, speaks or draws, read by no monitor",
    "unknown": "any other route",
}

HEAD = """# Routes

What the gateway does with each route of the servers that it may be put in front of. One table in `interwhen/gateway/_routes.py`
decides, also for sub-paths and other spellings; this page is written from it by
`python tests/gateway/server_routes.py > docs/routes.md`, and a test compares the two.

A route that may answer with text which no monitor reads is refused, unless the gateway was started with
`--pass-unsupervised`: then the answer has `X-Interwhen-Monitors: none`, and `interwhen_unsupervised_answers_total` counts
it. The same holds for a call without monitors to a supervised route. The gateway has no routes outside `/v1` (404).
"""


def routes(server):
    return [tuple(line.split()) for line in SERVERS[server].strip().splitlines()]


def found_of(method, path):
    if not path.startswith("/v1/"):
        return None
    inner = path.removeprefix("/v1/").replace("{id}", "x-1")
    return route_of(method, inner, inner)


def page():
    lines = [HEAD, "## What a route answers with\n"]
    lines += [f"| | | {' | '.join(MODES.values())} |", "|---|---|---|---|---|"]
    for kind, decisions in DECISIONS.items():
        told = " | ".join(TOLD[decisions[mode]] for mode in MODES)
        lines.append(f"| `{kind}` | {KINDS[kind]} | {told} |")
    lines.append("")
    for server in SERVERS:
        lines += [f"## {server}\n", f"From {SOURCES[server]}.\n"]
        lines += [f"| route | | {' | '.join(MODES.values())} |", "|---|---|---|---|---|"]
        for method, path in routes(server):
            route = found_of(method, path)
            kind = "" if route is None else f"`{route.kind}`"
            told = ["none (404)"] * 3 if route is None else [TOLD[DECISIONS[route.kind][mode]] for mode in MODES]
            lines.append(f"| `{method} {path}` | {kind} | {' | '.join(told)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
