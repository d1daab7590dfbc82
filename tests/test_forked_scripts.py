"""A script that is forked behaves as one that is started: its output, its exit code, its surroundings, its end."""

import os
import subprocess

import pytest
from tests.forked_scripts import run_script


@pytest.fixture
def script(tmp_path):
    def write(code):
        path = tmp_path / "script.py"
        path.write_text(code)
        return path

    return write


def test_script_runs_as_main_with_own_environment(script, tmp_path):
    path = script("import os, sys\nprint(__name__, os.getcwd(), sys.argv, sys.path[0], dict(os.environ), __file__)")
    done = run_script(path, cwd=tmp_path, env={"A": "b"})
    told = f"__main__ {tmp_path} [{str(path)!r}] {tmp_path} {{'A': 'b'}} {path}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")


def test_scripts_share_no_state(script):
    run_script(script("import os, interwhen\nos.environ['LEFT'] = 'x'\ninterwhen.left = 1"))
    done = run_script(script("import os, interwhen\nprint('LEFT' in os.environ, hasattr(interwhen, 'left'))"))
    assert done.stdout == "False False\n"
    assert "LEFT" not in os.environ


def test_error_gives_exit_code_and_traceback(script):
    done = run_script(script("print('before')\nraise ValueError('wrong')"))
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert "ValueError: wrong" in done.stderr
    assert run_script(script("import sys\nsys.exit(3)")).returncode == 3


def test_dying_or_hanging_script_does_not_affect_next(script):
    assert run_script(script("import os\nos.abort()")).returncode == -6
    with pytest.raises(subprocess.TimeoutExpired):
        run_script(script("import time\ntime.sleep(600)"), timeout=0.2)
    assert run_script(script("print(1)")).stdout == "1\n"


def test_script_runs_exit_handlers_and_obeys_warning_filter(script):
    code = "import atexit, warnings\natexit.register(print, 'ended')\nwarnings.warn('old', DeprecationWarning)"
    assert run_script(script(code), warn="ignore").stdout == "ended\n"
    assert run_script(script(code), warn="error").returncode == 1
