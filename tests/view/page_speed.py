"""Measures the trace page in Chromium: ``python -m tests.view.page_speed [--against SKETCH.html] [--pairs 5]``.

A generated run of 73,000 tokens and 1,000 checks is opened, scrolled and scrubbed; a run that grows by 500 tokens a second is
followed. With ``--against``, another page is measured in turn with ours, in random order, in the same browser. It must be the sketch
of the page, whose functions ``open_``, ``paint``, ``build`` and ``draw`` are called. The times are those of the main thread.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from interwhen.journal._files import frames
from interwhen.view._page import render_page
from interwhen.view._runs import RunFolder, run_id
from playwright.sync_api import sync_playwright
from tests.view.browser import chromium
from tests.view.recorded import record

TOKENS, CHECKS, RATE = 73_000, 1_000, 500
BARS = {
    "open, script and layout": (500.0, "ms"),
    "scroll, p99 of a frame": (8.0, "ms"),
    "scrub, p95 of a move": (50.0, "ms"),
    "elements": (3000.0, ""),
    "live at 500 tokens/s, page": (10.0, "% of a core"),
    "live at 500 tokens/s, server": (10.0, "% of a core"),
}
OURS = """async () => {
  const scroller = document.querySelector('main.text');
  const scroll = [];
  const most = scroller.scrollHeight - scroller.clientHeight;
  for (let i = 0; i < 300; i++) {
    const begun = performance.now();
    scroller.scrollTop = most * ((i * 0.618) % 1);
    scroller.dispatchEvent(new Event('scroll'));
    scroller.firstElementChild.getBoundingClientRect();
    scroll.push(performance.now() - begun);
    await new Promise(requestAnimationFrame);
  }
  const canvas = document.querySelector('canvas[role=slider]');
  const box = canvas.getBoundingClientRect();
  const at = (type, share) => canvas.dispatchEvent(new PointerEvent(type, {bubbles: true, pointerId: 1,
    clientX: box.x + 140 + (box.width - 160) * share, clientY: box.bottom - 40}));
  canvas.setPointerCapture = () => {};
  at('pointerdown', 0.5);
  const scrub = [];
  for (let i = 0; i < 100; i++) {
    const before = canvas.getAttribute('aria-valuenow');
    const begun = performance.now();
    at('pointermove', 0.02 + 0.96 * ((i * 0.618) % 1));
    for (let turn = 0; turn < 100 && canvas.getAttribute('aria-valuenow') === before; turn++) await Promise.resolve();
    if (canvas.getAttribute('aria-valuenow') === before) throw new Error('the cursor did not move');
    scroller.firstElementChild.getBoundingClientRect();
    scrub.push(performance.now() - begun);
    await new Promise(requestAnimationFrame);
  }
  return {scroll, scrub, elements: document.querySelectorAll('*').length};
}"""
SKETCH = """async () => {
  const scroller = document.getElementById('text');
  const scroll = [];
  const most = scroller.scrollHeight - scroller.clientHeight;
  scroller.onscroll = null;
  for (let i = 0; i < 300; i++) {
    const begun = performance.now();
    scroller.scrollTop = most * ((i * 0.618) % 1);
    paint();
    scroller.firstElementChild.getBoundingClientRect();
    scroll.push(performance.now() - begun);
    await new Promise(requestAnimationFrame);
  }
  const scrub = [];
  for (let i = 0; i < 100; i++) {
    const begun = performance.now();
    T = R.end * (0.02 + 0.96 * ((i * 0.618) % 1));
    build();
    draw();
    scroller.firstElementChild.getBoundingClientRect();
    scrub.push(performance.now() - begun);
    await new Promise(requestAnimationFrame);
  }
  return {scroll, scrub, elements: document.querySelectorAll('*').length};
}"""


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def replies():
    """Yield the replies of a run with 1,000 sums, one in a hundred wrong, in 73,000 tokens of four characters."""
    filler = "I think about this part again and keep all of it in mind. "
    reply: list[str] = []
    size = TOKENS * 4 // CHECKS
    for number in range(CHECKS):
        a, b = 100 + number * 7 % 900, 100 + number * 13 % 900
        is_wrong = number % 100 == 99
        line = f"{a} + {b} = {a + b + is_wrong}\n"
        text = (filler * 6)[: size - len(line) - 3]
        reply.append(f"{text[:120]}\n{text[120:]}\n{line}")
        if is_wrong:
            yield "".join(reply)
            reply = ["\n"]
    yield "".join(reply) + "That is all.\n"


def spent(session):
    """Return the seconds that the main thread of a page has spent on script, style and layout, and on all tasks."""
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return sum(metrics[name] for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")), metrics[
        "TaskDuration"
    ]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def look(browser, url, ready, measure, opening=None):
    """Open *url* in a new page, and return the measured times and the number of elements.

    *opening* is a script that shows the run, if the page does not do so itself. The page is ready when *ready* matches. The
    script *measure* scrolls and moves the cursor.
    """
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(url)
    if opening is not None:
        page.evaluate(opening)
    page.locator(ready).first.wait_for(timeout=60_000)
    opened = spent(session)[0] * 1e3
    measurements = page.evaluate(measure)
    context.close()
    return {
        "open, script and layout": opened,
        "scroll, p99 of a frame": percentile(measurements["scroll"], 0.99),
        "scrub, p95 of a move": percentile(measurements["scrub"], 0.95),
        "elements": measurements["elements"],
    }


def follow(browser, path, folder, seconds):
    """Show a run that has 18,000 tokens and gets 500 more a second; return the load of the page and of its server."""
    data = path.read_bytes()
    ends = [frame.end for frame in frames(data, str(path))]
    growing = folder / "growing.journal"
    begin = next(end for end in ends if end > len(data) // 4)
    growing.write_bytes(data[:begin])
    start = "import sys; from interwhen_launcher.__main__ import main; main(sys.argv[1:])"
    server = subprocess.Popen([sys.executable, "-c", start, "view", str(growing)], stderr=subprocess.PIPE, text=True)
    stop = threading.Event()

    def grow():
        at, begun = begin, time.monotonic()
        with growing.open("ab") as file:
            while not stop.wait(0.02):
                to = begin + int((time.monotonic() - begun) * len(data) * RATE / TOKENS)
                to = max((end for end in ends if end <= to), default=at)
                if to > at:
                    file.write(data[at:to])
                    file.flush()
                    at = to

    try:
        address = re.search(r"http://\S+", server.stderr.readline())[0]
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        page.goto(f"{address}#/run/{run_id(growing)}")
        page.locator(".live").first.wait_for(timeout=150_000)
        thread = threading.Thread(target=grow)
        thread.start()
        page.wait_for_timeout(1000)
        begun, task, cpu = time.monotonic(), spent(session)[1], cpu_of(server.pid)
        page.wait_for_timeout(1000 * seconds)
        wall = time.monotonic() - begun
        load = 100 * (spent(session)[1] - task) / wall, 100 * (cpu_of(server.pid) - cpu) / wall
        stop.set()
        thread.join()
        page.context.close()
    finally:
        stop.set()
        server.terminate()
        server.wait(10)
        server.stderr.close()
    return dict(zip(("live at 500 tokens/s, page", "live at 500 tokens/s, server"), load, strict=True))


def cpu_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="the sketch, whose longest run is measured in pairs")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=15, help="how long the growing run is followed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        path = long_run(folder / "long.journal")
        say(f"recorded {path.stat().st_size:,} bytes")
        page = folder / "long.html"
        runs = RunFolder([path])
        page.write_text(render_page({run_id(path): runs.form(path)}, [runs.row(path)]), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        arms = {"page": lambda: look(browser, page.as_uri(), "main.text .row", OURS)}
        if given.against is not None:
            longest = "open_(RUNS.map((run, i) => [run.tape?.length ?? JSON.stringify(run).length, i]).sort((a, b) => b[0] - a[0])[0][1])"
            arms["sketch"] = lambda: look(browser, given.against.resolve().as_uri(), "#rows .r", SKETCH, longest)
        arm_rows = {arm: [] for arm in arms}
        rng = random.Random(0)
        for _ in range(given.pairs):
            for arm in rng.sample(list(arms), len(arms)):
                arm_rows[arm].append(arms[arm]())
                say(f"{arm}: {', '.join(f'{what} {value:.1f}' for what, value in arm_rows[arm][-1].items())}")
        arm_rows["page"].append(follow(browser, path, folder, given.seconds))
        browser.close()
    show(arm_rows)


def long_run(path):
    """Record the run. The last of its bytes arrive as they would from a server."""
    return record(path, list(replies()), size=4)


def show(arm_rows):
    """Print the medians, with the least and the greatest value, and whether each bar is met."""
    missed = 0
    say(f"{'':32}{'bar':>16}" + "".join(f"{arm:>28}" for arm in arm_rows))
    for what, (bar, unit) in BARS.items():
        cells = []
        for arm, rows in arm_rows.items():
            values = [row[what] for row in rows if what in row]
            if not values:
                cells.append("")
                continue
            middle = statistics.median(values)
            missed += arm == "page" and middle > bar
            cells.append(f"{middle:.1f} ({min(values):.1f}-{max(values):.1f})")
        say(f"{what:32}{f'{bar:g} {unit}':>16}" + "".join(f"{cell:>28}" for cell in cells))
    say("every bar is met" if not missed else f"{missed} bars are missed")
    return missed


if __name__ == "__main__":
    main()
