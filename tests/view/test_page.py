"""The one-file page: its policy, and data that cannot leave its element."""

import json
import re
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from interwhen.view._page import policy, render_page
from tests.hostile.corpus import HIDDEN, MARKERS, TERMINAL

VIEW = Path(__file__).parents[2] / "interwhen" / "view"
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>",
    "</SCRIPT >",
    "<img src=x onerror=alert(1)>",
    *MARKERS,
    *HIDDEN,
    *TERMINAL,
]


def blocks(page):
    return {
        name: json.loads(text)
        for name, text in re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page, re.DOTALL)
    }


def test_embedded_data_round_trips_and_closes_no_element():
    data = {"text": "|".join(HOSTILE)}
    page = render_page({"a": json.dumps(data).encode()}, [{"id": "a", "path": "</script>"}], title="<b>&")
    block_data = blocks(page)
    assert block_data["run-a"] == data
    assert block_data["runs"] == [{"id": "a", "path": "</script>"}]
    assert block_data["config"] == {"mode": "file"}
    # The document's own elements, and no other.
    assert len(re.findall(r"<script", page)) == 4
    assert len(re.findall(r"</script", page, re.IGNORECASE)) == 4
    assert "<title>&lt;b&gt;&amp;</title>" in page


def test_only_the_bundled_script_and_style_run():
    page = render_page({}, [])
    script = page.partition('<script type="module">')[2].rpartition("</script>")[0]
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert len(script) > 1000
    for name, text in (("script-src", script), ("style-src", style)):
        wanted = f"{name} 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        assert wanted in policy(connect=False), name
    assert "unsafe" not in policy(connect=True)
    assert "connect-src 'none'" in policy(connect=False)
    assert "connect-src 'self'" in policy(connect=True)
    # It loads nothing: no address is in it but names of namespaces.
    assert set(re.findall(r"https?://[^\"'`\s]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1998/Math/MathML",
    }
    for sink in ("insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in script, sink


@pytest.mark.source
def test_no_sink_for_markup_is_in_the_sources():
    for path in (VIEW / "page" / "src").iterdir():
        text = path.read_text()
        for sink in (
            "innerHTML",
            "outerHTML",
            "dangerouslySetInnerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ):
            assert sink not in text, (path.name, sink)


@pytest.mark.source
def test_bundle_matches_the_sources():
    page = VIEW / "page"
    if not (page / "node_modules" / "esbuild").is_dir():
        pytest.skip("esbuild is not installed: run npm ci in interwhen/view/page")
    done = subprocess.run(["node", "build.mjs", "--check"], cwd=page, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) <= 80_000


@pytest.mark.source
def test_the_lock_file_names_no_package_host():
    lock = (VIEW / "page" / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert "://" not in re.sub(r'"(?:url|funding)": "[^"]*"', "", lock)
    assert '"integrity"' in lock
