"""Writes demo.svg, the README's picture: the second run of ``interwhen demo`` as the terminal shows it.

Run it with the Python that interwhen is installed in: ``python docs/pictures/make_demo.py``.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).with_name("demo.svg")
COLUMNS = 112
FIRST, LAST = "Run 2 of 3", "certificate"
# rich's own template loads its font from a third host; a picture in a README must not.
FONTS = 'Menlo, "DejaVu Sans Mono", Consolas, monospace'


def terminal_lines() -> list[str]:
    """Return the lines of the second run, with their colours as ANSI codes."""
    command = [str(Path(sys.executable).with_name("interwhen")), "demo", "--speed", "0"]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if FIRST in line)
    end = next(number for number in range(start, len(lines)) if LAST in lines[number])
    # The sentence under the heading introduces the demo, and the picture speaks for itself.
    begin = next(number for number in range(start, end) if "Take 59" in lines[number])
    return lines[begin : end + 1]


def svg_of(lines: list[str]) -> str:
    """Return *lines* as an SVG picture without references to other hosts."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(title="interwhen demo", theme=MONOKAI, unique_id="demo")
    start = svg.index("@font-face")
    end = svg.index(".demo-matrix")
    return (svg[:start] + svg[end:]).replace("Fira Code", FONTS)


if __name__ == "__main__":
    PICTURE.write_text(svg_of(terminal_lines()), encoding="utf-8")
    sys.stdout.write(f"written: {PICTURE}\n")
