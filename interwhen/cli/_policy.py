"""``interwhen policy``: rules of a written policy, checked, explained, reviewed, and written by a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import App, Parameter
from rich.text import Text

from interwhen._types.errors import UsageError
from interwhen._types.models import Message
from interwhen.cli import _exits
from interwhen.cli._flags import ModelFlags
from interwhen.cli._progress import ProgressLine, each
from interwhen.cli._text import STYLES, LineKind, as_json, joined, one_line, signs_for, stdout_console, table
from interwhen.policy._admission import Admission, Replayed, admit, example_outcome, fired_in
from interwhen.policy._files import inner_folder, make_folder, read_policy, read_surroundings
from interwhen.policy._rules import Rule, WrittenPolicy, problems_of
from interwhen.policy._schemas import Schema
from interwhen.policy._syntax import show

# The output of ``interwhen policy``. No text in it is trusted.


def say(lines: Iterable[str]) -> None:
    """Print *lines*, with control characters escaped."""
    console = stdout_console()
    for line in lines:
        console.print(Text(joined(line)))


def show_admission(policy: WrittenPolicy, admission: Admission) -> None:
    console = stdout_console()
    signs = signs_for(console.encoding)
    listed = table("", "rule", "examples", "mistakes noticed", "why not")
    for rule in policy.rules:
        problems = admission.problems_of(rule.id)
        tally = admission.mutants.get(rule.id)
        noticed = "" if tally is None else f"{tally.killed} of {tally.killed + len(tally.survivors)}"
        if tally is not None and tally.equal:
            noticed += f", {tally.equal} are none"
        kind: LineKind = "violated" if problems else "passed"
        why = "; ".join(f"{problem.reason}: {problem.says}" for problem in problems)
        cells = (rule.id, str(len(rule.examples)), noticed, why)
        listed.add_row(Text(signs.of(kind), style=STYLES[kind]), *(Text(one_line(cell, 600)) for cell in cells))
    console.print(listed)
    covered = [coverage for coverage in admission.coverage.clauses if coverage.rules]
    say(["", f"{len(covered)} of {len(admission.coverage.clauses)} clauses have a rule:"])
    for coverage in covered:
        rules = ", ".join(coverage.rules)
        say([f"  {coverage.clause[:100]}  [{rules}; {coverage.examples} examples, fired {coverage.fired} times]"])
    say(["without a rule:", *(f"  {clause}" for clause in admission.coverage.without)])
    say(
        [f"{len(admission.admitted)} of {len(policy.rules)} rules admitted; {admission.killed:.1%} of mistakes noticed"]
    )


def explained(rule: Rule, schema: Schema) -> Iterator[str]:
    """Explain *rule*, and show the outcome of an example if it is not the expected one."""
    yield from (f"problem:  {problem}" for problem in problems_of(rule, schema))
    yield from (f"clause:   {clause}" for clause in rule.clauses)
    yield f"looks at: {', '.join(rule.tools) or 'every tool'}, {rule.moment} the call"
    yield f"when:     {show(rule.when)}"
    yield f"require:  {show(rule.require)}"
    for name, message in (("why", rule.why), ("witness", rule.witness)):
        text = "".join(part if isinstance(part, str) else f"{{{show(part)}}}" for part in message.parts)
        yield f"{name + ':':9} {text}"
    for example in rule.examples:
        said = example_outcome(rule, example, schema)
        yield f"example:  {example.name}: {example.expect}" + (
            "" if said == example.expect else f" (but it is {said!r})"
        )


def show_replayed(findings: Replayed) -> None:
    listed = table("rule", "keeps", "breaks", "unknown", "not applicable", "why unknown")
    for column in listed.columns[1:-1]:
        column.justify = "right"
    for name, tally in findings.tallies.items():
        counts = (tally.keeps, tally.breaks, tally.unknown, tally.not_applicable)
        listed.add_row(Text(name), *map(str, counts), Text(one_line(tally.why_unknown, 80)))
    stdout_console().print(listed)
    say([f"{findings.calls} calls, of which {findings.results} have a result that is data"])
    for (record, field), rules in findings.unseen.items():
        say([f"never present: the field {field!r} of {record}, which is read by {', '.join(rules)}"])
    for record, rules in findings.never_returned.items():
        say([f"no result has a record {record}, which is read by {', '.join(rules)}"])
    for name in findings.undecided:
        say([f"never decided: {name}"])


def written(findings: Replayed) -> dict[str, object]:
    """Return *findings* as plain values that can be written as JSON."""
    return {
        "calls": findings.calls,
        "results": findings.results,
        "rules": {name: asdict(tally) for name, tally in findings.tallies.items()},
        "unseen": [
            {"record": record, "field": name, "rules": rules} for (record, name), rules in findings.unseen.items()
        ],
        "never_returned": findings.never_returned,
        "undecided": findings.undecided,
    }


app = App(name="policy", help="Check, explain and review the rules of a written policy, or have a model write them.")
_MODEL = ModelFlags()


@app.command
def check(
    folder: Path,
    /,
    *,
    situations: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check the rules of the policy in FOLDER, and list the clauses without a rule.

    Exit codes: 0 every rule is admitted, 1 some are not, 2 wrong usage.

    Parameters
    ----------
    folder
        The folder of the policy.
    situations
        A file of recorded situations, one JSON object a line, in the form of examples. For each rule, the situations
        that break it are counted.
    json
        Print the findings as JSON.
    """
    policy = read_policy(folder)
    fired = None if situations is None else fired_in(policy, situations)
    with ProgressLine("checked rules and tools:") as progress:
        admission = admit(policy, fired=fired, on_progress=progress.of)
    if json:
        print(as_json(admission))
    else:
        show_admission(policy, admission)
    return _exits.OK if len(admission.admitted) == len(policy.rules) else _exits.BROKEN


@app.command
def lint(
    folder: Path,
    /,
    *,
    replay: Path,
    format: str | None = None,  # noqa: A002  # the name of the option
    state: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run the policy in FOLDER on recorded runs, and list fields that no result has, and rules that never decide.

    Exit codes: 0 no such field or rule, 1 at least one, 2 wrong usage. Records that no result has are only listed.

    Parameters
    ----------
    folder
        The folder of the policy.
    replay
        Recorded runs: labelled traces, a line of JSON each, or a data set that the reader named by --format reads.
    format
        The reader of the runs, such as tau_bench.
    state
        The folder with the database before each run.
    json
        Print the findings as JSON.
    """
    from interwhen.policy._admission import replay as replayed
    from interwhen.policy._admission import run_of
    from interwhen.policy._files import read_database
    from interwhen.testing._traces import read_traces

    policy = read_policy(folder)
    _vet_kinds(policy.rules, policy.schema)
    turns = (trace.turns[-1] for trace in read_traces(replay, format))
    # Calls that were never made, such as the right ones of a task, have no results to learn from.
    runs = (
        run_of((*turn.prompt, Message("assistant", turn.text, turn.calls)))
        for turn in turns
        if not isinstance(turn.prompt, str) and any(message.role == "tool" for message in turn.prompt)
    )
    database = None if state is None else read_database(policy, state)
    findings = replayed(policy, each(runs, "runs"), database)
    if not findings.calls:
        raise UsageError(
            f"the runs at {str(replay)!r} must have tool calls with results, got none: give runs with "
            "messages of role tool"
        )
    if json:
        print(as_json(written(findings)))
    else:
        show_replayed(findings)
    return _exits.BROKEN if findings.unseen or findings.undecided else _exits.OK


@app.command
def explain(folder: Path, rule: str, /, *, smt: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Explain one RULE of the policy in FOLDER: its clause, its conditions written out, its examples.

    Exit codes: 0 shown, 2 wrong usage, such as an unknown RULE.

    Parameters
    ----------
    folder
        The folder of the policy.
    rule
        The id of the rule.
    smt
        Print the rule as SMT-LIB instead, with one formula for each tool (extra z3). A formula is satisfiable if a call
        of the tool can break the rule with lists of the printed length or shorter, and perhaps although no call can.
    """
    policy = read_policy(folder)
    chosen = next((known for known in policy.rules if known.id == rule), None)
    if chosen is None:
        raise UsageError(
            f"RULE must be a rule in {str(folder)!r}, got {rule!r:.80}: choose one of "
            f"{', '.join(r.id for r in policy.rules)}"[:600]
        )
    if smt:
        from interwhen.policy._smt import smtlib

        _vet_kinds((chosen,), policy.schema)
        print(smtlib(chosen, policy.schema))
        return _exits.OK
    say(explained(chosen, policy.schema))
    return _exits.OK


def _vet_kinds(rules: Iterable[Rule], schema: Schema) -> None:
    for rule in rules:
        for problem in problems_of(rule, schema):
            raise UsageError(f"the rule {rule.id!r} must pass the type check, got a problem: {problem}"[:800])


@app.command
def review(folder: Path, /, *, accept: str | None = None, drop: str | None = None) -> int:
    """Show what needs a review in FOLDER: clauses that the synthesis left without a rule, and rules that a model wrote.

    Exit codes: 0 shown, admitted or removed, 1 the rule is not admitted, 2 wrong usage.

    Parameters
    ----------
    folder
        The folder of the policy.
    accept
        Admit the rule that waits under this name (edit it there first if necessary), or print its problems.
    drop
        Remove the entry with this name from the queue.
    """
    from interwhen.policy import _synthesis
    from interwhen.policy._synthesis import judge_candidate

    if accept is not None and drop is not None:
        raise UsageError("--accept and --drop must not be used together, got both: give one of them")
    policy = read_policy(folder)
    if drop is not None:
        _synthesis.drop(folder, drop)
        return _exits.OK
    if accept is not None:
        queued = _synthesis.read_queued(folder, accept)
        rule, problems = judge_candidate(queued.text, queued.clause, policy, read_surroundings(folder)[1])
        if rule is None or problems:
            say([f"not admitted: {problem}" for problem in problems])
            return _exits.BROKEN
        _synthesis.write_rule(folder, rule.id, queued.text, queued.model)
        _write_formula(folder, rule, policy.schema)
        _synthesis.drop(folder, accept)
        return _exits.OK
    _waiting(folder, policy)
    return _exits.OK


def _write_formula(folder: Path, rule: Rule, schema: Schema) -> None:
    from interwhen.policy._smt import smtlib

    place = inner_folder(folder, "smt", make=True) / f"{rule.id}.smt2"
    place.write_text(smtlib(rule, schema), encoding="utf-8")


def _waiting(folder: Path, policy: WrittenPolicy) -> None:
    from interwhen.policy import _synthesis

    listed = table("waiting", "what", "clause", "why")
    for name in _synthesis.queue(folder):
        queued = _synthesis.read_queued(folder, name)
        why = queued.reason or "; ".join(queued.problems)
        listed.add_row(*(Text(one_line(cell)) for cell in (name, queued.status, queued.clause, why)))
    for rule in policy.rules:
        if rule.origin:
            cells = (
                rule.id,
                "not reviewed",
                rule.clauses[0],
                f"written by {rule.origin}: read it, then delete 'origin'",
            )
            listed.add_row(*(Text(one_line(cell, 600)) for cell in cells))
    stdout_console().print(listed if listed.row_count else Text("nothing waits"))


@app.command
def synth(
    text: Path,
    /,
    *,
    tools: Path | None = None,
    schema: Path | None = None,
    out: Path = Path("policy"),
    rounds: int = 3,
    seconds: float = 300.0,
    json: Annotated[bool, Parameter(negative="")] = False,
    model: ModelFlags = _MODEL,
) -> int:
    """Have a model write a rule for each clause of the policy TEXT; keep those that are admitted.

    A rule that is not admitted waits for a review: interwhen policy review. An existing folder is continued.

    Exit codes: 0 every clause has a rule or needs none, 1 some wait for a review or a rule is not admitted, 2 wrong
    usage, 5 the model failed.

    Parameters
    ----------
    text
        The file with the text of the policy.
    tools
        The tools of the agent: a .json file in the form of the OpenAI API, or a .py file, which is read and never run.
    schema
        A TOML file with the results of tools and the tables of the state (records, tools, returns, state).
    out
        The folder for the rules.
    rounds
        How many attempts the model has for each clause.
    seconds
        The longest time for one answer of the model, in seconds.
    json
        Print what is admitted as JSON, and nothing else on stdout.
    """
    from interwhen.policy._synthesis import Draft, Synthesis, keep, open_clauses, synthesise

    make_folder(out, text, tools, schema)
    policy, around = read_policy(out), read_surroundings(out)[1]
    opened = model.open((Message("user", ""),))
    counts: Counter[str] = Counter()

    def done(draft: Draft) -> None:
        counts[draft.status] += 1
        kept = keep(out, draft, opened.name).name
        progress.clear()
        progress.advance()
        if not json:
            say([f"{draft.status:8}  {kept}  {one_line(draft.clause)[:90]}"])
        if draft.rule is not None:
            _write_formula(out, draft.rule, policy.schema)

    async def main() -> Synthesis:
        try:
            return await synthesise(policy, around, opened, rounds=rounds, seconds=seconds, done=done)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await opened.aclose()

    with ProgressLine("clauses", len(open_clauses(policy))) as progress:
        result = anyio.run(main)
    if json:
        print(as_json(result.admission))
    else:
        show_admission(result.policy, result.admission)
    return _exits.BROKEN if counts["queued"] or result.admission.problems else _exits.OK
