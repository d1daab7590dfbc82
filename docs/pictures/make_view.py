"""Makes the pictures of docs/view.md: ``python docs/pictures/make_view.py`` (needs Chromium and Playwright).

The runs are scripted, with pauses like those of a small model, so the pictures show a simulation.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import anyio
import interwhen
from interwhen.testing import Pause, ScriptedModel
from interwhen.view._page import render_page
from interwhen.view._recheck import recheck_form, rechecked_id
from interwhen.view._runs import RunFolder, run_id
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
QUESTION = (
    "A shop starts with 1847 screws. It sells 39 boxes of 28 screws, buys 17 crates of 164 screws, and loses 6 bags "
    "of 47 screws. How many screws are left?"
)
FIRST = """Let me follow the screws from the start.

The shop begins with 1847 screws. It sells 39 boxes of 28:
39 * 28 = 1092
So what is left after the sale is
1847 - 1092 = 755

Then it buys 17 crates of 164 screws:
17 * 164 = 2818
755 + 2818 = 3573
"""
SECOND = """
After that delivery it has
755 + 2788 = 3543

Last, it loses 6 bags of 47 screws:
6 * 47 = 282
3543 - 282 = 3241
I count again, in another order, to be sure.
1847 + 2788 = 4635
1092 + 282 = 1364
4635 - 1364 = 3271
"""
THIRD = """
Both ways must agree. They do not, so I look at the first way again:
3543 - 282 = 3261
4635 - 1374 = 3261
Answer: 3261
"""


def chunks(text: str, first: float) -> Iterator[object]:
    """Yield *text* in pieces with pauses; *first* is how long the server reads the prompt."""
    yield Pause(first)
    for at in range(0, len(text), 4):
        yield text[at : at + 4]
        yield Pause(0.012 + 0.02 * (at % 7 == 0))


def record(path: Path, replies: list[str], monitors: list[str]) -> None:
    """Write the journal of a run with *replies*."""
    waits = iter((1.4, 0.9, 1.0, 1.0))
    texts = iter(replies)
    model = ScriptedModel(lambda _: chunks(next(texts), next(waits)))
    with interwhen.run_sync(model, QUESTION, monitors=monitors, journal=path) as run:
        run.drain()


def main() -> None:
    """Record the runs, and take the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder / "screws.journal", [FIRST, SECOND, THIRD], ["arithmetic"])
        record(folder / "screws-bare.journal", [FIRST], [])
        record(folder / "boxes.journal", [FIRST.split("Then", maxsplit=1)[0] + "Answer: 755\n"], ["arithmetic"])
        runs = RunFolder([folder])
        paths = runs.paths()
        page = folder / "runs.html"
        ids = {path.stem: run_id(path) for path in paths}
        forms = {run_id(path): runs.form(path) for path in paths}
        again = rechecked_id(ids["screws-bare"], "arithmetic")
        forms[again] = anyio.run(recheck_form, folder / "screws-bare.journal", "arithmetic")
        page.write_text(render_page(forms, [runs.row(path) for path in paths]))
        places = {
            "view": f"#/run/{ids['screws']}",
            "view-list": "",
            "view-compare": f"#/compare/{ids['screws-bare']}/{ids['screws']}",
            "view-monitors": f"#/compare/{ids['screws-bare']}/{quote(again)}",
        }
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": 1440, "height": 860}, color_scheme=scheme)
                tab = context.new_page()
                for picture, place in places.items():
                    tab.goto(page.as_uri() + place)
                    tab.wait_for_timeout(500)
                    if picture in {"view-compare", "view-monitors"}:
                        tab.keyboard.press("n")
                        tab.wait_for_timeout(200)
                    if scheme == "light" or picture == "view":
                        ending = "" if scheme == "light" else "-dark"
                        tab.screenshot(path=HERE / f"{picture}{ending}.png")
            browser.close()


if __name__ == "__main__":
    main()
