"""The commands of docs/view.md work as they stand, in an empty directory."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interwhen_launcher.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "view.md"
COMMAND = [sys.executable, "-c", "from interwhen_launcher.__main__ import main; main()"]


def test_the_commands_of_the_page_work(tmp_path):
    pytest.importorskip("xllamacpp", reason="the local model needs the extra 'local'")
    [shown] = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in shown.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        argv = [*COMMAND, *arguments] if program == "interwhen" else [program, *arguments]
        served = False
        with subprocess.Popen(
            argv, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            for told in process.stderr:
                if told.startswith("serving "):
                    served = True
                    process.send_signal(signal.SIGINT)  # Ctrl-C, as the page says
        # The server may end itself at the signal, before the command line sees it.
        assert process.returncode in ((0, 130) if served else (0,)), line
    assert (tmp_path / "first.html").exists()


def test_a_journal_in_a_missing_folder_is_refused(tmp_path, capsys):
    path = str(tmp_path / "runs" / "first.journal")
    with pytest.raises(SystemExit) as ended:
        main(["run", "p", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--journal", path])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"--journal must be in a folder that exists, got {path!r}: make it first: mkdir -p {path[:-14]}" in told
