"""The page in a real browser: reading a run, comparing two, a run that grows, hostile text, and everybody's ways to use it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import anyio
import pytest
from interwhen._run.consent import monitors_given
from interwhen.journal._files import frames
from interwhen.view._page import render_page
from interwhen.view._recheck import recheck_form
from interwhen.view._runs import RunFolder, run_id
from interwhen.view._server import local_app
from journals import CLOCKS, finely, retimed
from tests.hostile.corpus import ARITHMETIC, HIDDEN, LOOKALIKES, MARKERS, TERMINAL, TOKENS
from tests.view.browser import Watched, axe, chromium, expect, serving, until
from tests.view.recorded import PLAIN, REPAIRED, long_replies, record, record_call, tried

WORD = "word"
MARKUP = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<svg onload=alert(3)>",
    "<iframe src=javascript:alert(4)>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    '"><a href="http://evil.example">',
    "javascript:alert(5)",
    "{{7*7}}${7*7}",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
]
# Scroll events come in the next frame, so what they draw is there in the one after it.
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


# For this module only: while Playwright runs, no other test can start an event loop in this thread.
@pytest.fixture(scope="module")
def browser():
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "repaired.journal", REPAIRED)
    record(folder / "plain.journal", PLAIN)
    record(folder / "bare.journal", REPAIRED[:1], monitors=())
    record(folder / "long.journal", long_replies(240), size=16)
    return folder


def one_file(path, *journals):
    runs = RunFolder(journals)
    paths = runs.paths()
    page = render_page({run_id(each): runs.form(each) for each in paths}, [runs.row(each) for each in paths])
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path.as_uri()


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    return one_file(tmp_path_factory.mktemp("page") / "runs.html", folder)


@pytest.fixture
def watch(browser):
    contexts = []

    def opened(url, **options):
        context = browser.new_context(
            viewport={"width": 1440, "height": 900}, **{"offline": url.startswith("file:"), **options}
        )
        contexts.append(context)
        watched = Watched(context.new_page(), url.partition("#")[0].rpartition("/")[0])
        watched.page.goto(url)
        return watched

    yield opened
    for context in contexts:
        context.close()


def rechecked(path, spec):
    # Playwright has an event loop in this thread, so another thread runs it.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, recheck_form, path, monitors_given(spec), spec).result()


def at_run(address, folder, name):
    return f"{address}#/run/{run_id(folder / name)}"


def test_repaired_run_shows_its_repair_immediately(watch, address, folder):
    watched = watch(at_run(address, folder, "repaired.journal"))
    page = watched.page
    page.get_by_role("heading", name="repaired.journal").wait_for()
    expect(page.locator(".badge").first).to_have_text(re.compile("steps verified$"))
    # The first violation is chosen: its evidence, its remedy, its line.
    expect(page.locator(".upper")).to_contain_text("17 × 164 is 2788, not 2818")
    expect(page.locator(".story")).to_contain_text("Remedy: repair")
    row = page.locator(".row.chosen")
    # The model had begun the next line when it was stopped; that went, too.
    shown = re.compile(r"^\s*4\s+✗\s+17 \* 164 = 2818⏎\S*2788\s*$")
    expect(row).to_have_text(shown, use_inner_text=True)
    expect(row.locator("s.gone").first).to_have_text("2818")
    expect(row.locator("s.gone").nth(1)).to_have_text(re.compile("^⏎"))
    expect(row.locator(".ours")).to_have_text("2788")
    expect(page.locator(".strip")).to_contain_text("kept")
    watched.assert_clean()


def test_ten_questions_take_one_or_two_clicks(watch, address, folder):
    repaired, plain, bare = (
        at_run(address, folder, name) for name in ("repaired.journal", "plain.journal", "bare.journal")
    )
    walks = [
        ("why was this cut?", repaired, [], ".upper", "17 × 164 is 2788, not 2818"),
        ("what did the model write?", repaired, [], "s.gone", "2818"),
        ("what was written in its place?", repaired, [], ".story", "«2788» written in its place"),
        ("what did it cost?", repaired, [], ".strip", "discarded"),
        ("how long did the reader wait?", repaired, [], ".story .cost", "s"),
        ("was the verifier right?", repaired, ["Verify again"], "[role=status].note", "interwhen recheck"),
        ("what is certified?", repaired, ["Account"], ".account", "steps on the way; the answer may be wrong"),
        ("what was asked?", repaired, ["Prompt"], ".prompt", "How many screws?"),
        ("was anything wrong here?", plain, [], ".top", "no violation"),
        ("why is it not verified?", bare, ["Account"], ".account", "Why it is unverified"),
    ]
    page = None
    last = ""
    for question, url, clicks, where, wanted in walks:
        if url != last:
            page = watch(url).page
            page.locator(".top h1").wait_for()
            last = url
        for name in clicks:
            page.get_by_role("tab", name=name).or_(page.get_by_role("button", name=name, exact=True)).first.click()
        expect(page.locator(where).first, question).to_contain_text(wanted)
        if clicks and clicks != ["Verify again"]:
            page.get_by_role("tab", name="Evidence").click()


def test_the_page_explains_its_signs_and_keys(watch, address, folder):
    watched = watch(at_run(address, folder, "repaired.journal"))
    page = watched.page
    page.locator(".row.chosen").wait_for()
    page.keyboard.press("?")
    expect(page.get_by_role("tab", name="Help")).to_have_attribute("aria-selected", "true")
    explained = page.locator(".explained")
    # What the reader sees in the text and in the header: each has a line.
    for word in ("steps verified", "the answer itself may be wrong", "written by a remedy", "taken back", "frontier"):
        expect(explained).to_contain_text(word)
    signs = page.locator(".row .sign").all_inner_texts()
    assert set(signs) == {"✓", "✗"}
    for sign in signs:
        expect(explained.locator("dt").filter(has_text=sign)).to_have_count(1)
    page.keyboard.press("n")
    expect(page.get_by_role("tab", name="Evidence")).to_have_attribute("aria-selected", "true")
    watched.assert_clean()


def test_first_interaction_may_be_a_drag(watch, address, folder):
    watched = watch(at_run(address, folder, "long.journal"))
    slider = watched.page.get_by_role("slider", name="Time")
    box = slider.bounding_box()
    last = slider.get_attribute("aria-valuenow")
    watched.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] - 40)
    watched.page.mouse.down()
    expect(slider).not_to_have_attribute("aria-valuenow", str(last))
    first = slider.get_attribute("aria-valuenow")
    watched.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] - 40)
    watched.page.mouse.up()
    expect(slider).not_to_have_attribute("aria-valuenow", str(first))
    assert (
        0 < float(slider.get_attribute("aria-valuenow")) < float(first) < float(slider.get_attribute("aria-valuemax"))
    )
    watched.assert_clean()


def test_long_run_supports_filters_steps_and_scrubbing(watch, address, folder):
    watched = watch(at_run(address, folder, "long.journal"))
    page = watched.page
    page.get_by_text("1 / 4 violations").wait_for()
    page.keyboard.press("n")
    page.get_by_text("2 / 4 violations").wait_for()
    page.get_by_role("button", name="Previous violation").click()
    page.get_by_text("1 / 4 violations").wait_for()
    chosen = page.locator(".row.chosen").first
    expect(chosen).to_be_visible()
    page.get_by_role("button", name=re.compile("^✗ violation 4")).click()
    expect(page.locator(".checks .item")).to_have_count(4)
    page.get_by_role("searchbox", name="Search the checks").fill("no such claim")
    expect(page.locator(".checks .item")).to_have_count(0)
    page.get_by_role("searchbox", name="Search the checks").fill("")
    # The cursor of time: at the start there is no text, in the middle a part of it, and no sign of later checks.
    slider = page.get_by_role("slider", name="Time")
    slider.focus()
    page.keyboard.press("Home")
    page.locator(".cursor span").wait_for()
    expect(page.locator(".row").nth(1)).to_be_hidden()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 40)
    expect(slider).not_to_have_attribute("aria-valuenow", "0")
    middle = float(slider.get_attribute("aria-valuenow"))
    assert 0 < middle < float(slider.get_attribute("aria-valuemax"))
    page.locator(".row").nth(5).wait_for()
    # A click on a line number's sign chooses its check.
    page.locator(".gutter .sign").first.click()
    expect(page.locator(".row.chosen")).to_have_count(1)
    page.keyboard.press("End")
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    watched.assert_clean()


SCROLLED = """async (places) => {
  const scroller = document.querySelector('main.text');
  const most = scroller.scrollHeight - scroller.clientHeight;
  let made = 0, records = 0, added = 0;
  const [element, text] = [document.createElement, document.createTextNode];
  document.createElement = function (...given) { made++; return element.apply(this, given); };
  document.createTextNode = function (...given) { made++; return text.apply(this, given); };
  const note = (found) => { records += found.length; for (const each of found) added += each.addedNodes.length; };
  const seen = new MutationObserver(note);
  seen.observe(scroller, {subtree: true, childList: true, attributes: true, characterData: true});
  const orders = [];
  for (const place of places) {
    scroller.scrollTop = place < 1 ? most * place : place;
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    const numbers = [...scroller.querySelectorAll('.no')].map((each) => Number(each.textContent)).filter(Boolean);
    orders.push(numbers.every((each, at) => !at || each > numbers[at - 1]) && numbers.length > 5);
  }
  note(seen.takeRecords());
  seen.disconnect();
  [document.createElement, document.createTextNode] = [element, text];
  return {made, records, added, ordered: orders.every(Boolean)};
}"""


def test_scrolling_uses_the_same_elements_again(watch, address, folder):
    # Elements that are made in a frame, and collected later, are what makes frames late. So they are counted.
    watched = watch(at_run(address, folder, "long.journal"))
    page = watched.page
    page.get_by_text("1 / 4 violations").wait_for()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def counts():
        metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        return [metrics[name] for name in ("LayoutCount", "RecalcStyleCount")]

    jumps = [number * 0.618 % 1 for number in range(30)]
    page.evaluate(SCROLLED, jumps)
    before = counts()
    scrolling = page.evaluate(SCROLLED, jumps)
    # At most one layout for each of the 60 frames, and a few for what the test does.
    assert all(after - begun <= 2 * len(jumps) + 5 for begun, after in zip(before, counts(), strict=True))
    assert scrolling["ordered"]
    assert scrolling["made"] == 0
    # A step of one row writes one row: it moves to the other end, and its number, text, sign and place change.
    steps = page.evaluate(SCROLLED, [2000 + 20 * number for number in range(40)])
    back = page.evaluate(SCROLLED, [2800 - 20 * number for number in range(40)])
    for each in (steps, back):
        assert each["ordered"]
        assert each["made"] == 0
        assert each["records"] <= 40 * 12 + 300  # the first step is a jump
    assert page.evaluate(SCROLLED, [2020, 2021, 2022, 2021])["records"] <= 40
    watched.assert_clean()


def test_the_list_filters_sorts_and_compares(watch, address, folder):
    watched = watch(address)
    page = watched.page
    rows = page.locator(".body .tr")
    expect(rows).to_have_count(4)
    # What all paths have in common tells nothing apart.
    link = page.get_by_role("link", name="repaired.journal", exact=True)
    expect(link).to_have_attribute("title", str(folder / "repaired.journal"))
    page.get_by_label("outcome").select_option("with a violation")
    expect(rows).to_have_count(2)
    page.get_by_label("outcome").select_option("")
    page.get_by_label("status").select_option("unverified")
    expect(rows).to_have_count(1)
    page.get_by_label("status").select_option("")
    page.get_by_role("searchbox").fill("repaired")
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="tokens").click()
    expect(rows.first).to_contain_text("long.journal")
    expect(page.get_by_role("columnheader", name="tokens")).to_have_attribute("aria-sort", "descending")
    for name in ("bare", "repaired"):
        page.get_by_role("checkbox", name=re.compile(name)).check()
    page.get_by_role("button", name="Compare the two").click()
    page.get_by_role("heading", name="Two runs").wait_for()
    # Bare and supervised, aligned: the wrong line stands beside the repaired one.
    other = page.locator(".pair.other").first
    expect(other.locator(".half")).to_have_count(2)
    left, right = (re.sub(r"\s+", " ", half.inner_text()) for half in other.locator(".half").all())
    assert "17 * 164 = 2818" in left
    assert "2788" in right
    shared = page.locator(".pair:not(.other)").first
    left, right = (half.inner_text() for half in shared.locator(".half").all())
    assert left.split()[-2:] == right.split()[-2:]
    watched.assert_clean()


def test_one_cursor_steps_through_both_runs(watch, address, folder):
    ids = [run_id(folder / name) for name in ("bare.journal", "repaired.journal")]
    watched = watch(f"{address}#/compare/{'/'.join(ids)}")
    page = watched.page
    slider = page.get_by_role("slider", name="Time")
    written = re.compile(r"left .*?, ([\d,]+) characters; right .*?, ([\d,]+) characters")

    def lengths():
        match = written.match(slider.get_attribute("aria-valuetext"))
        return [int(each.replace(",", "")) for each in match.groups()]

    # Two runs of other lengths are compared by their text: both stand at the same line.
    expect(page.get_by_role("button", name="same text")).to_have_attribute("aria-pressed", "true")
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0")
    expect(page.locator(".pair .row")).to_have_count(0)
    for _ in range(14):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".times .cursor span")).to_have_count(2)

    def both_halves_show_the_same_line():
        left, right = lengths()
        # To within the token that ends the line.
        lines = [REPAIRED[0][:length].count("\n") for length in (left, right)]
        return 0 < left < len(REPAIRED[0]) and abs(lines[0] - lines[1]) <= 1

    until(page, both_halves_show_the_same_line, "both halves show the same line")
    last = page.locator(".pair:has(.row)").last
    expect(last.locator(".half .row")).to_have_count(2)
    # By time, both stand at one moment, and a drag moves both.
    page.get_by_role("button", name="same time").click()
    expect(page.locator(".times .cursor span")).to_have_count(1)
    box = slider.bounding_box()
    before = slider.get_attribute("aria-valuenow")
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 20)
    page.mouse.down()
    page.mouse.up()
    expect(slider).not_to_have_attribute("aria-valuenow", before)
    page.keyboard.press("End")
    expect(page.locator(".times .cursor span")).to_have_count(0)
    # The keys go through the places that differ, and say what was checked there.
    page.keyboard.press("n")
    expect(page.locator(".pair.chosen")).to_contain_text("17 * 164")
    expect(page.locator(".judged-row")).to_contain_text("17 × 164 is 2788, not 2818")
    # They do so for the next two runs, too.
    page.get_by_role("link", name="swap").click()
    expect(page.locator(".summary h2").first).to_contain_text("repaired.journal")
    expect(page.locator(".pair.chosen")).to_have_count(0)
    page.keyboard.press("n")
    expect(page.locator(".pair.chosen")).to_have_count(1)
    watched.assert_clean()


def test_two_monitors_are_shown_side_by_side(watch, folder, tmp_path):
    with serving(local_app(RunFolder([folder]), WORD)) as port:
        watched = watch(f"http://127.0.0.1:{port}/{WORD}/#/run/{run_id(folder / 'bare.journal')}")
        page = watched.page
        # A run without monitors: any installed one can read its text now.
        page.get_by_role("tab", name="Evidence").click()
        page.get_by_role("combobox", name="another monitor").fill("arithmetic")
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("heading", name="One run, checked again").wait_for()
        wrong = page.locator(".pair.judged")
        expect(wrong).to_have_count(1)
        expect(wrong.locator(".half").first.locator(".sign")).to_have_count(0)
        expect(wrong.locator(".half").last.locator(".sign")).to_have_text("✗")
        expect(page.locator(".top")).to_contain_text("0 violations left, 1 violation right")
        # From the rechecked half on: another monitor, on the same record.
        page.get_by_role("link", name="bare.journal with arithmetic").click()
        page.get_by_role("button", name="With another monitor").click()
        page.get_by_role("combobox", name="another monitor").fill("regex:patterns=sells")
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("heading", name="One run, two monitors").wait_for()
        first = page.locator(".pair").filter(has_text="Shop one sells")
        expect(first.locator(".half").first.locator(".sign")).to_have_count(0)
        expect(first.locator(".half").last.locator(".sign")).to_have_text("✗")
        # A monitor that there is not: the page says why.
        page.goto(page.url.rpartition("/")[0] + f"/{run_id(folder / 'bare.journal')}%40nothing_like_it")
        expect(page.locator(".top")).to_contain_text("nothing_like_it")
    errors = [each for each in watched.errors if "422" not in each]
    assert (watched.requests, errors, page.evaluate("window.refused")) == ([], [], [])


def test_page_without_server_shows_the_recheck_command(watch, address, folder):
    watched = watch(at_run(address, folder, "repaired.journal"))
    page = watched.page
    page.get_by_role("button", name="With another monitor").click()
    page.get_by_role("combobox", name="another monitor").fill("regex:patterns=a|b")
    page.get_by_role("button", name="Copy command").click()
    expect(page.locator(".another .note")).to_contain_text(
        re.compile(r"interwhen view \S+ --recheck 'regex:patterns=a\|b'")
    )
    watched.assert_clean()


def test_a_growing_run_survives_a_dropped_connection(watch, folder, tmp_path):
    path = tmp_path / "growing.journal"
    data = (folder / "repaired.journal").read_bytes()
    ends = [frame.end for frame in frames(data, str(path))]
    sizes = [ends[len(ends) * part // 8] for part in range(2, 6)]
    path.write_bytes(data[: sizes[0]])
    asked, lost, last = [], [], {}
    inner = local_app(RunFolder([tmp_path]), WORD)

    async def app(scope, receive, send):
        if not scope["path"].endswith("/live"):
            await inner(scope, receive, send)
            return
        asked.append(int(dict(scope["headers"]).get(b"last-event-id", b"0")))
        number, parts = len(asked), 0

        async def breaking(message):
            nonlocal parts
            parts += b"event: part" in message.get("body", b"")
            if number <= 2 and parts == 2:
                lost.append(message["body"])
                raise ConnectionError("cut by the test")
            await send(message)
            if sent := re.match(rb"id: (\d+)\nevent: part", message.get("body", b"")):
                last[number] = int(sent[1])

        await inner(scope, receive, breaking)

    with serving(app) as port:
        watched = watch(f"http://127.0.0.1:{port}/{WORD}/#/run/{run_id(path)}")
        page = watched.page
        page.locator(".live.live").wait_for()
        slider = page.get_by_role("slider", name="Time")
        for number, connections in enumerate((1, 2, 3), start=1):
            before = slider.get_attribute("aria-valuetext")
            with path.open("ab") as file:
                file.write(data[sizes[number - 1] : sizes[number]])
            until(page, lambda least=connections: len(asked) >= least, "the page connects again")
            expect(slider).not_to_have_attribute("aria-valuetext", before)
        with path.open("ab") as file:
            file.write(data[sizes[3] :])
        page.locator(".badge.verified").wait_for()
        expect(page.locator("main.text")).to_contain_text("That is all.")
        text = page.evaluate("[...document.querySelectorAll('.row')].map((row) => row.innerText).join('\\n')")
    # Each connection begins where the last part ended that the page had got.
    assert len(lost) == 2
    # Where a file system shows half of what a writer appends, a part ends before `sizes` says.
    assert asked == [0, last[1], last[2]]
    assert sizes[0] < last[1] < last[2] <= sizes[3]
    for line in ("17 * 164 = 2818⏎", "So 1092 + 2788 = 3880", "That is all."):
        assert text.count(line) == 1, line
    assert page.evaluate("window.refused") == []


def test_restarted_run_is_shown_from_its_start(watch, folder, tmp_path):
    path, other = tmp_path / "growing.journal", tmp_path / "other"
    data = (folder / "repaired.journal").read_bytes()
    path.write_bytes(data[: len(data) // 3])
    with serving(local_app(RunFolder([path]), WORD)) as port:
        watched = watch(f"http://127.0.0.1:{port}/{WORD}/#/run/{run_id(path)}")
        page = watched.page
        page.locator(".live.live").wait_for()
        expect(page.locator("main.text")).to_contain_text("Shop one sells")
        other.write_bytes((folder / "plain.journal").read_bytes())
        other.rename(path)
        page.locator(".badge.verified").wait_for()
        expect(page.locator("main.text")).to_contain_text("That is all.")
        expect(page.locator("main.text")).not_to_contain_text("17")
        text = page.evaluate("[...document.querySelectorAll('.row')].map((row) => row.innerText).join('\\n')")
    assert text.count("Shop one sells") == 1
    watched.assert_clean()


def test_hostile_text_creates_no_element(watch, tmp_path):
    corpus = [*MARKUP, *TOKENS, *MARKERS, *TERMINAL, *HIDDEN, *LOOKALIKES, *ARITHMETIC, "x" * 1_000_000, "<b>" * 40_000]
    text = "\n".join(corpus) + "\n1 + 1 = 3\n"
    path = record(
        tmp_path / "</script><script>alert(9)<.journal".replace("/", "_"), [text, " 2\n"], monitors=["arithmetic"]
    )
    watched = watch(one_file(tmp_path / "hostile.html", path))
    page = watched.page
    page.locator(".top h1").wait_for()
    inside = """() => {
      const bad = [];
      for (const row of document.querySelectorAll('.row')) {
        const box = row.getBoundingClientRect();
        if (Math.abs(box.height - 20) > 0.01) bad.push(['height', box.height]);
        const style = getComputedStyle(row);
        if (style.overflow !== 'clip' || !style.contain.includes('strict') && !style.contain.includes('paint')) bad.push(['box', style.overflow, style.contain]);
        for (const made of row.querySelectorAll('*')) if (!['SPAN', 'S', 'I', 'BUTTON'].includes(made.tagName)) bad.push(made.tagName);
        if (/[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\u200e\\u200f]/.test(row.textContent)) bad.push(JSON.stringify(row.textContent));
      }
      if (document.documentElement.scrollWidth > innerWidth) bad.push('the document is wider than the window');
      return bad;
    }"""
    height = page.evaluate("document.querySelector('main.text').scrollHeight")
    for share in range(11):
        page.evaluate("(y) => document.querySelector('main.text').scrollTop = y", height * share / 10)
        page.evaluate(DRAWN)
        assert page.evaluate(inside) == []
    for name in ("Account", "Prompt", "Evidence"):
        page.get_by_role("tab", name=name).click()
    assert page.evaluate("document.querySelectorAll('script').length") == 4
    assert (
        page.evaluate(
            "document.querySelectorAll('img, iframe, svg, style:not(head style), link[rel=stylesheet], object, embed').length"
        )
        == 0
    )
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    watched.assert_clean()
    # The same beside itself, under a monitor that quotes what it finds.
    spec = "regex:patterns=<b>"
    run = run_id(path)
    forms = {run: RunFolder([path]).form(path), f"{run}@{spec}": rechecked(path, spec)}
    beside = tmp_path / "beside.html"
    rows = [{"id": each, "path": path.name} for each in forms]
    beside.write_text(render_page(forms, rows), encoding="utf-8", errors="backslashreplace")
    watched = watch(f"{beside.as_uri()}#/compare/{'/'.join(quote(each, safe='') for each in forms)}")
    page = watched.page
    page.locator(".pair").first.wait_for()
    expect(page.locator(".summary")).to_have_count(2)
    for _ in range(8):
        page.keyboard.press("n")
        expect(page.locator(".pair.chosen")).to_have_count(1)
        assert page.evaluate(inside) == []
    for share in range(5):
        page.evaluate("(y) => document.querySelector('main.text').scrollTop = y", height * share / 4)
        page.evaluate(DRAWN)
        assert page.evaluate(inside) == []
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    watched.assert_clean()


def monitored(path, journal, *specs):
    run = run_id(journal)
    forms = {run: RunFolder([journal]).form(journal)} | {f"{run}@{spec}": rechecked(journal, spec) for spec in specs}
    rows = [RunFolder([journal]).row(journal), *({"id": name, "path": name} for name in [*forms][1:])]
    path.write_text(render_page(forms, rows), encoding="utf-8", errors="backslashreplace")
    return path.as_uri(), [quote(name, safe="") for name in forms]


@pytest.fixture(scope="module")
def pair(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("pair") / "pair.html"
    address, ids = monitored(place, folder / "bare.journal", "arithmetic", "regex:patterns=sells")
    return f"{address}#/compare/{'/'.join(ids[1:])}"


@pytest.mark.parametrize(
    "colours", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}], ids=str
)
def test_axe_has_no_serious_finding(watch, address, folder, pair, colours):
    source = axe()
    serious = []

    def examine(page, what):
        page.evaluate(source)
        report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious.extend(
            (what, rule["id"], [node["html"][:120] for node in rule["nodes"]][:3])
            for rule in report["violations"]
            if rule["impact"] in {"serious", "critical"}
        )

    page = watch(address, **colours).page
    page.locator(".body .tr").first.wait_for()
    examine(page, "list")
    page.get_by_label("outcome").select_option("with a violation")
    page.get_by_role("checkbox", name=re.compile("repaired")).check()
    expect(page.locator(".body .tr")).to_have_count(2)
    examine(page, "filtered list")
    page.get_by_role("searchbox").fill("no such run")
    expect(page.locator(".body .tr")).to_have_count(0)
    examine(page, "empty list")

    page = watch(at_run(address, folder, "repaired.journal"), **colours).page
    page.locator(".row.chosen").wait_for()
    for tab in ("Evidence", "Account", "Prompt", "Help"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        examine(page, tab)

    ids = [run_id(folder / name) for name in ("bare.journal", "repaired.journal")]
    for what, place in (("two runs", f"{address}#/compare/{'/'.join(ids)}"), ("two monitors", pair)):
        page = watch(place, **colours).page
        page.locator(".pair .row").first.wait_for()
        examine(page, what)
        page.keyboard.press("n")
        expect(page.locator(".pair.chosen")).to_have_count(1)
        page.keyboard.press("Shift+ArrowLeft")
        expect(page.locator(".times .cursor span").first).to_be_visible()
        examine(page, f"{what}, a place chosen")
    assert serious == []


def test_pair_is_navigable_by_keyboard(watch, pair):
    watched = watch(pair.partition("#")[0])
    page = watched.page
    page.locator(".body .tr").first.wait_for()
    focused = "((one) => one === document.body ? '' : one.getAttribute('aria-label') || one.textContent)(document.activeElement)"

    def to(name):
        for _ in range(60):
            page.keyboard.press("Tab")
            if name in page.evaluate(focused):
                return
        raise AssertionError(f"no key leads to {name!r}")

    for spec in ("@arithmetic", "@regex"):
        to(f"{run_in(pair)}{spec}")
        page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)
    to("Compare the two")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="One run, two monitors").wait_for()
    page.locator(".pair .row").first.wait_for()
    for name in ("swap", "Next difference", "same text", "Time", "Both texts"):
        to(name)
    for places in ("1 / 2", "2 / 2", "1 / 2"):
        page.keyboard.press("n")
        expect(page.locator(".steps .what")).to_contain_text(places)
        expect(page.locator(".judged-row")).to_contain_text("violation")
    page.keyboard.press("p")
    expect(page.locator(".steps .what")).to_contain_text("2 / 2")
    slider = page.get_by_role("slider", name="Time")
    last = slider.get_attribute("aria-valuenow")
    page.keyboard.press("Shift+ArrowLeft")
    expect(slider).not_to_have_attribute("aria-valuenow", last)
    pressed = page.get_by_role("button", name="same text").get_attribute("aria-pressed")
    page.keyboard.press("t")
    expect(page.get_by_role("button", name="same text")).not_to_have_attribute("aria-pressed", pressed)
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    watched.assert_clean()


def run_in(pair):
    return pair.rpartition("/")[2].partition("%40")[0]


def test_run_is_navigable_by_keyboard(watch, address, folder):
    watched = watch(address)
    page = watched.page
    page.locator(".body .tr").first.wait_for()
    page.get_by_role("link", name="repaired.journal").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="repaired.journal").wait_for()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent || '').slice(0, 40)"
            )
        )
    for wanted in (
        "Time",
        "Text of the run",
        "Evidence",
        "Verify again",
        "Mark as wrong verdict",
        "Next violation",
        "Play",
    ):
        assert any(wanted in each for each in reached), wanted
    page.get_by_role("slider", name="Time").focus()
    slider = page.get_by_role("slider", name="Time")
    before = slider.get_attribute("aria-valuenow")
    page.keyboard.press("ArrowLeft")
    expect(slider).not_to_have_attribute("aria-valuenow", before)
    assert float(slider.get_attribute("aria-valuenow")) < float(before)
    page.get_by_role("tab", name="Evidence").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Account")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Runs").wait_for()
    watched.assert_clean()


def test_forced_colours_keep_every_sign(watch, address, folder):
    watched = watch(at_run(address, folder, "repaired.journal"), forced_colors="active")
    page = watched.page
    page.locator(".row.chosen").wait_for()
    # A sign, a line or a word also says what a colour says.
    expect(page.locator(".row.chosen .sign")).to_contain_text("✗")
    assert "line-through" in page.evaluate("getComputedStyle(document.querySelector('s.gone')).textDecorationLine")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != page.evaluate(
        "getComputedStyle(document.body).color"
    )
    watched.assert_clean()


@pytest.mark.parametrize("clock", ["uvloop", *CLOCKS])
def test_a_violation_under_any_clock_shows_its_text(browser, tmp_path, clock):
    path = record_call(tmp_path / "calls")
    if clock != "uvloop":
        path.write_bytes(retimed(finely(path.read_bytes()), CLOCKS[clock]))
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(one_file(tmp_path / "call.html", path))
    lines = []
    for n in range(1, 7):
        wrong = f"{10 + n} + {20 + n} = {31 + 2 * n}"
        page.get_by_text(f"{n} / 6 violations").wait_for()
        expect(page.locator(".upper .quote")).to_have_text(wrong)
        expect(page.locator(".checks .item[aria-selected=true] code")).to_have_text(wrong)
        row = page.locator(".row.chosen")
        expect(row.locator(".sign").first).to_have_text("✗")
        expect(row.locator("s.gone").first).to_have_text(str(31 + 2 * n))
        # A check has no sign at text that had been taken back before it.
        expect(page.locator("s.gone.pass")).to_have_count(0)
        expect(page.locator(".row .ours").nth(n - 1)).to_have_text(str(30 + 2 * n))
        page.get_by_role("button", name="Copy as labelled case").click()
        read = "navigator.clipboard.readText()"
        until(page, lambda wrong=wrong, read=read: wrong in page.evaluate(read), f"the case of {wrong} is copied")
        lines.append(page.evaluate(read))
        page.keyboard.press("n")
    context.close()
    cases = tmp_path / "cases.jsonl"
    cases.write_text("\n".join(lines))
    score = tried(cases)
    assert [(score[name]["hits"], score[name]["of"]) for name in ("recall", "located", "precision")] == [(6, 6)] * 3


def test_a_labelled_case_is_a_line_for_trials(browser, address, folder, tmp_path):
    from interwhen.testing import read_traces

    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(at_run(address, folder, "repaired.journal"))

    def copied(label):
        page.get_by_role("button", name="Copy as labelled case").click()
        read = "navigator.clipboard.readText()"
        until(page, lambda: f'"label":"{label}"' in page.evaluate(read), f"the label {label} is copied")
        return page.evaluate(read)

    line = copied("wrong")
    path = tmp_path / "cases.jsonl"
    path.write_text(line + "\n")
    [case] = read_traces(path)
    assert case.label == "wrong"
    span = case.mistake.span
    assert "17 * 164 = 2818" in case.turns[0].text[span.start : span.end]
    page.get_by_role("button", name="Mark as wrong verdict").click()
    expect(page.get_by_role("button", name="Unmark")).to_be_visible()
    assert json.loads(copied("right"))["label"] == "right"
    context.close()
