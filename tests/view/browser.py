"""A browser for the tests of the page, and a server of the page in a thread of its own."""

import contextlib
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn

PAGE = Path(__file__).parents[2] / "interwhen" / "view" / "page"


def chromium():
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = (
        os.environ.get("INTERWHEN_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if executable is None:
        pytest.skip("no browser: install Debian's chromium")
    return executable


def expect(subject, message=None):
    from playwright.sync_api import expect as expected

    return expected(subject, message)


def until(page, holds, what, seconds=30.0):
    # `what` says what did not happen in `seconds`.
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        page.wait_for_timeout(20)


def axe():
    path = PAGE / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        pytest.skip("axe-core is not installed: run npm ci in interwhen/view/page")
    return path.read_text()


class Watched:
    """Records the errors, dialogs and policy violations of *page*, and its requests outside of the address *allowed*."""

    def __init__(self, page, allowed):
        self.page = page
        self.requests, self.errors, self.dialogs = [], [], []
        page.on(
            "request",
            lambda request: self.requests.append(request.url) if not request.url.startswith(allowed) else None,
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.add_init_script(
            "window.refused = []; document.addEventListener('securitypolicyviolation', (event) => window.refused.push(event.violatedDirective));"
        )

    def assert_clean(self):
        assert self.page.evaluate("window.refused") == []
        assert (self.requests, self.errors, self.dialogs) == ([], [], [])


@contextlib.contextmanager
def serving(app, **options):
    """Serve *app* on this machine, in a thread, until the block ends. The block gets the port.

    *options* are those of uvicorn.
    """
    options = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none", **options}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **options))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
