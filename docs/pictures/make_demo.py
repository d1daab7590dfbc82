"""Writes demo.svg, the README's picture: the first two runs of ``interwhen demo`` as the terminal shows them.

``make picture``, or ``python docs/pictures/make_demo.py`` with the Python that interwhen is installed in. A test
compares the text of the picture with what the program prints.
"""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).with_name("demo.svg")
COLUMNS = 90
FIRST, AFTER = "Run 1 of 3", "Run 3 of 3"
# rich's own template loads its font from a third host; a picture in a README must not.
FONTS = 'Menlo, "DejaVu Sans Mono", Consolas, monospace'


def terminal_lines() -> list[str]:
    """Return the lines of the first two runs, with their colours as ANSI codes."""
    command = [str(Path(sys.executable).with_name("interwhen")), "demo", "--speed", "0"]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    lines = output.splitlines()
    start, end = (next(at for at, line in enumerate(lines) if heading in line) for heading in (FIRST, AFTER))
    return lines[start : end - 1]


def words_of(svg: str) -> list[str]:
    """Return the words that *svg* shows, in their order, without the title of its window."""
    shown = svg[svg.index('class="demo-matrix"') :]
    return html.unescape(re.sub(r"<[^>]+>", " ", shown)).split()


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
