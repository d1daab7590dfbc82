"""Measures the shipped monitors of the prompt on public runs of agents.

``python -m tests.measurements.measure_prompt_monitors DATA``. A result of a tool counts as injected if it holds a sentence that
the set itself names as the injection of its run. All other texts are harmless as far as the sets say; each finding in
one of them is printed, to be read.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from interwhen.registry import load_prompt_monitors
from interwhen.toolkit import PromptText

SETS = {
    "agentdojo/banking": "agentdojo/banking.jsonl.gz",
    "agentdojo/workspace": "agentdojo/workspace.jsonl.gz",
    "tau_bench/airline": "tau_bench/airline_gpt4o.jsonl.gz",
    "tau_bench/retail": "tau_bench/retail_grok3.jsonl.gz",
    "tau2_telecom": "tau2_telecom/runs.jsonl.gz",
}


def texts(run: dict) -> Iterator[tuple[str, str, bool]]:
    """Yield role, text, and whether the text holds an injection of its run."""
    planted = [part for text in (run.get("injections") or {}).values() for part in _plain(text).split(". ")]
    for message in run["messages"]:
        content = message.get("content")
        if isinstance(content, str) and content:
            flat = _plain(content)
            held = message["role"] == "tool" and any(len(part) > 40 and part[:80] in flat for part in planted)
            yield message["role"], content, held


def _plain(text: str) -> str:
    """Return *text* without the line breaks and the quotes that tools add when they print YAML."""
    return " ".join(text.replace("'", "").replace('"', "").split())


def measure(folder: Path) -> None:
    secrets, instructions = load_prompt_monitors(["secrets", "tool_instructions"])
    print("| set | tool results | injected | found | harmless | wrongly found | texts | secrets found |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    wrong = []
    for name, path in SETS.items():
        counts: Counter[str] = Counter()
        with gzip.open(folder / path, "rt", encoding="utf-8") as lines:
            for line in lines:
                for role, text, held in texts(json.loads(line)):
                    read = PromptText(text, role if role in ("system", "user", "assistant", "tool") else "user")
                    counts["texts"] += 1
                    if secrets_read := list(secrets.find(read)):
                        counts["secrets"] += 1
                        wrong.append((name, "secrets", secrets_read[0].why, text[secrets_read[0].span.start :][:80]))
                    if role != "tool":
                        continue
                    secrets_read = list(instructions.find(read))
                    counts["injected" if held else "harmless"] += 1
                    if secrets_read:
                        counts["hit" if held else "wrong"] += 1
                    if secrets_read and not held:
                        wrong.append(
                            (name, "tool_instructions", secrets_read[0].why, text[secrets_read[0].span.start :][:200])
                        )
        tools = counts["injected"] + counts["harmless"]
        print(
            f"| {name} | {tools:,} | {counts['injected']:,} | {counts['hit']:,} | {counts['harmless']:,} "
            f"| {counts['wrong']:,} | {counts['texts']:,} | {counts['secrets']:,} |"
        )
    for row in sorted(set(wrong))[:40]:
        print(*row, sep=" | ")


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
