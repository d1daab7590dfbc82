"""Written policies as rules in files: read, checked, judged by, and synthesised from the policy's text.

``read_policy(folder)`` reads a policy, ``policy.judge(situation)`` judges a call by it, ``policy.learn(state, call)``
keeps the state; ``admit(policy)`` says which of its rules may be trusted. See ``docs/policy.md``.
"""

from interwhen.policy.admission import Admission, MutantTally, Problem, admit
from interwhen.policy.clauses import Coverage, Covered
from interwhen.policy.folders import read_database, read_policy
from interwhen.policy.globs import name_fits
from interwhen.policy.policies import Judged, WrittenPolicy
from interwhen.policy.rules import Example, Rule
from interwhen.policy.schemas import Schema, Tool
from interwhen.policy.situations import MadeCall, Situation, Talk
from interwhen.policy.tables import State

__all__ = [
    "Admission",
    "Coverage",
    "Covered",
    "Example",
    "Judged",
    "MadeCall",
    "MutantTally",
    "Problem",
    "Rule",
    "Schema",
    "Situation",
    "State",
    "Talk",
    "Tool",
    "WrittenPolicy",
    "admit",
    "name_fits",
    "read_database",
    "read_policy",
]
