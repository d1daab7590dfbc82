"""Written policies: rules for tool calls in files, which are checked, used to judge calls, and written by a model.

`read_policy(folder)` reads a policy (`_files.py`), `policy.judge(situation)` judges a call by it (`_rules.py`),
`policy.learn(state, call)` returns the state after a call (`_state.py`), and `admit(policy)` runs the admission checks
(`_admission.py`). The language of the rules is in `_syntax.py` and `_builtins.py`. Start with docs/policy.md.

Why: docs/decisions/policies.md.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen.policy._admission import admit
from interwhen.policy._files import read_database, read_policy
from interwhen.policy._limits import name_fits
from interwhen.policy._rules import Rule, WrittenPolicy
from interwhen.policy._schemas import MadeCall, Situation, Talk
from interwhen.policy._state import State

__all__ = [
    "MadeCall",
    "Rule",
    "Situation",
    "State",
    "Talk",
    "WrittenPolicy",
    "admit",
    "name_fits",
    "read_database",
    "read_policy",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
