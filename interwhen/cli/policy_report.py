"""What ``interwhen policy`` prints. All text in it may have been written by somebody else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from interwhen.cli.escape import joined, one_line
from interwhen.cli.signs import STYLES, LineKind, signs_for
from interwhen.cli.viewers import stdout_console
from interwhen.policy.admission import Admission, outcome
from interwhen.policy.nodes import show
from interwhen.policy.policies import WrittenPolicy
from interwhen.policy.replaying import Replayed
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import Schema


def say(lines: Iterable[str]) -> None:
    """Print *lines*, each made fit for a terminal."""
    console = stdout_console()
    for line in lines:
        console.print(Text(joined(line)))


def show_admission(policy: WrittenPolicy, admission: Admission) -> None:
    """Print which rules are admitted, why others are not, and what stands for each clause."""
    console = stdout_console()
    signs = signs_for(console.encoding)
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("", "rule", "examples", "mistakes noticed", "why not"):
        table.add_column(header, overflow="fold")
    for rule in policy.rules:
        problems = admission.problems_of(rule.id)
        tally = admission.mutants.get(rule.id)
        noticed = "" if tally is None else f"{tally.killed} of {tally.killed + len(tally.survivors)}"
        if tally is not None and tally.equal:
            noticed += f", {tally.equal} are none"
        kind: LineKind = "violated" if problems else "passed"
        why = "; ".join(f"{problem.reason}: {problem.says}" for problem in problems)
        cells = (rule.id, str(len(rule.examples)), noticed, why)
        table.add_row(Text(signs.of(kind), style=STYLES[kind]), *(Text(one_line(cell, 600)) for cell in cells))
    console.print(table)
    covered = [found for found in admission.coverage.clauses if found.rules]
    say(["", f"{len(covered)} of {len(admission.coverage.clauses)} clauses have a rule:"])
    for found in covered:
        rules = ", ".join(found.rules)
        say([f"  {found.clause[:100]}  [{rules}; {found.examples} examples, fired {found.fired} times]"])
    say(["without a rule:", *(f"  {clause}" for clause in admission.coverage.without)])
    say(
        [f"{len(admission.admitted)} of {len(policy.rules)} rules admitted; {admission.killed:.1%} of mistakes noticed"]
    )


def explained(rule: Rule, schema: Schema) -> Iterator[str]:
    """Yield the lines that explain *rule*."""
    yield from (f"clause:   {clause}" for clause in rule.clauses)
    yield f"looks at: {', '.join(rule.tools) or 'every tool'}, {rule.moment} the call"
    yield f"when:     {show(rule.when)}"
    yield f"require:  {show(rule.require)}"
    for name, message in (("why", rule.why), ("witness", rule.witness)):
        text = "".join(part if isinstance(part, str) else f"{{{show(part)}}}" for part in message.parts)
        yield f"{name + ':':9} {text}"
    for example in rule.examples:
        said = outcome(rule.judge(example.situation, schema))
        yield f"example:  {example.name}: {example.expect}" + (
            "" if said == example.expect else f" (but it is {said!r})"
        )


def show_replayed(found: Replayed) -> None:
    """Print what a policy made of recorded runs."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("rule", "keeps", "breaks", "unknown", "not applicable", "why unknown"):
        table.add_column(header, overflow="fold", justify="left" if header in ("rule", "why unknown") else "right")
    for name, tally in found.tallies.items():
        counts = (tally.keeps, tally.breaks, tally.unknown, tally.not_applicable)
        table.add_row(Text(name), *map(str, counts), Text(one_line(tally.why_unknown, 80)))
    stdout_console().print(table)
    say([f"{found.calls} calls, of which {found.results} have a result that is data"])
    for (record, field), rules in found.unseen.items():
        say([f"never there: the field {field!r} of {record}, which is read by {', '.join(rules)}"])
    for record, rules in found.never_returned.items():
        say([f"no result holds a record {record}, which is read by {', '.join(rules)}"])
    for name in found.undecided:
        say([f"never decided: {name}"])


def written(found: Replayed) -> dict[str, object]:
    """Return *found* as plain values."""
    return {
        "calls": found.calls,
        "results": found.results,
        "rules": {name: asdict(tally) for name, tally in found.tallies.items()},
        "unseen": [{"record": record, "field": name, "rules": rules} for (record, name), rules in found.unseen.items()],
        "never_returned": found.never_returned,
        "undecided": found.undecided,
    }
