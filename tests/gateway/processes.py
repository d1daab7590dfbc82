"""The gateway as users start it: a process."""

import re
import subprocess
import sys
from contextlib import contextmanager

_CODE = "import sys; from interwhen_launcher.__main__ import main; sys.exit(main())"


class Process:
    def __init__(self, child, base_url, said):
        self.said = said
        self.child = child
        self.base_url = base_url
        self.root = base_url.removesuffix("/v1")
        self.output = None

    def end(self, number, seconds=60):
        self.child.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds=60):
        self.output = self.child.communicate(timeout=seconds)[1]
        return self.child.returncode


@contextmanager
def serving(upstream, *arguments, log_level="error", cwd=None, environment=None):
    command = [sys.executable, "-c", _CODE, "--log-level", log_level, "serve", "--upstream", upstream, "--port", "0"]
    child = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment)
    try:
        seen = ""
        while not (match := re.search(r"serving (http://\S+)", seen)):
            line = child.stderr.readline()
            assert line, f"it did not start: {seen}"
            seen += line
        yield Process(child, match[1], seen)
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()
