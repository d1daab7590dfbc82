"""The command line as one cyclopts app; imported once the extras are known to be there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from cyclopts import App, Parameter

from interwhen._version import __version__
from interwhen.cli import logs

app = App(
    name="interwhen",
    version=f"interwhen {__version__}",
    help="Verifiers beside the reasoning stream of a language model.",
    help_epilogue="Exit codes: 0 verified or done, 3 unverified, 4 abstained, 5 failed, 2 usage, 130 interrupted.",
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
# main() answers Ctrl-C; the meta app has a setting of its own.
app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False
# Each command is imported when it is called, so that one does not slow down the others.
_COMMANDS = {
    "run": ("interwhen.cli.run:run", "Generate from a prompt while verifiers check the stream."),
    "resume": ("interwhen.cli.resume:resume", "Go on with a run whose process ended, from its journal."),
    "replay": ("interwhen.cli.replay:replay", "Show a run again from its journal, or what other monitors say of it."),
    "export": ("interwhen.cli.export:export", "Make training data of recorded runs."),
    "demo": ("interwhen.cli.demo:demo", "See a tiny model solve three problems while a verifier looks on."),
    "verifiers": (
        "interwhen.cli.verifiers:app",
        "List, describe and try the installed verifiers, or begin one of your own.",
    ),
    "plan": ("interwhen.cli.plan:app", "See how forks get their prefix, and what that was thought to take."),
    "doctor": ("interwhen.cli.doctor:doctor", "Ask an endpoint what it can do, and say what that means."),
    "serve": ("interwhen.cli.serve:serve", "Put verifiers between clients of the OpenAI API and their servers."),
    "simulate": ("interwhen.cli.simulate:simulate", "Play simulated worlds and find those that break a promise."),
    "precompute": ("interwhen.cli.precompute:app", "Prepare contexts while nobody waits, and see what came of it."),
    "policy": (
        "interwhen.cli.policy:app",
        "Check and review the rules of a written policy, or have them written.",
    ),
    "sandbox": ("interwhen.cli.sandbox:app", "Find out what sandboxes for untrusted code can promise on this machine."),
    "bench": ("interwhen.bench.cli:app", "Measure what verifiers cost, and the local model, on this machine."),
}
for _name, (_target, _help) in _COMMANDS.items():
    if find_spec(_target.partition(":")[0]) is not None:
        app.command(_target, name=_name, help=_help)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    log_level: logs.LogLevel = "error",
    debug: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run the command in *tokens*.

    Parameters
    ----------
    log_level
        Which log events go to stderr. They never hold text of a trace.
    debug
        Show a traceback where an error ends the command.
    """
    del debug  # main() looks at it: it must hold for errors of this very parse, too.
    logs.configure(log_level)
    result = app(tokens)
    return result if isinstance(result, int) else 0
