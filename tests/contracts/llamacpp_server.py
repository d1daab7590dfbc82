"""Runs llama.cpp with the tiny model: ``python llamacpp_server.py {tags,field,closes} GGUF`` prints its URL and serves until
stdin ends.

llama.cpp sends reasoning in a field of its own if the chat template of the model names that field, and between tags in
the text otherwise. With ``closes``, the template closes the reasoning of every assistant message, as published templates do.
"""

from __future__ import annotations

import sys

import xllamacpp

_FIELD = """\
{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['role'] == 'assistant' %}\
{% if message.reasoning_content %}{{ '<think>\\n' + message.reasoning_content + '</think>\\n' }}{% endif %}\
{{ message['content'] }}{% else %}{{ message['content'] | trim }}{% endif %}\
{% if not loop.last or message['role'] != 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


_CLOSES = _FIELD.replace(
    "message.reasoning_content + '</think>\\n'", "message.reasoning_content | trim + '</think>\\n\\n'"
).replace("{{ message['content'] }}{% else %}", "{{ message['content'] | trim }}{{ '\\n' }}{% else %}")


def main(kind: str, weights: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.port = 0
    params.n_parallel = 2
    params.n_ctx = 2 * 1024
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.fit_params_min_ctx = params.n_ctx
    params.use_jinja = True
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.warmup = False
    params.ui = False
    params.verbosity = 0
    if kind != "tags":
        params.chat_template = {"field": _FIELD, "closes": _CLOSES}[kind]
    server = xllamacpp.Server(params)
    sys.stdout.write(f"\nURL {server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
