"""The launcher: the process between ours and the sandbox. It enters new namespaces and runs the keeper.

Inside bubblewrap, the namespaces exist already, and the launcher itself becomes the keeper.
"""

from __future__ import annotations

import marshal
import os
import sys

from interwhen.sandbox._inside import namespaces, syscalls
from interwhen.sandbox._inside.keeper import Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from interwhen.sandbox._inside.namespaces import Entered
    from interwhen.sandbox._inside.plan import RunPlan


def main() -> None:
    # When the other end of the pipe `argv[2]` closes, the keeper ends the run. `argv[3]` is the id of the process that
    # started this one (0: not checked): if that process has ended already, nothing runs.
    status, control, parent = map(int, sys.argv[1:4])
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, syscalls.SIGKILL)
    if parent and os.getppid() != parent:
        return  # the parent ended before this process could be tied to it
    for descriptor in (status, control):
        os.set_inheritable(descriptor, False)
    plan: RunPlan = marshal.loads(sys.stdin.buffer.read())  # noqa: S302  (our own parent wrote it)
    if plan["outer"]:
        _keep(plan, namespaces.made_by_bubblewrap(plan["outer"], plan["user"]), control, status)
    entered = namespaces.enter(frozenset(plan["without"]), plan["folder"])
    # Again: a change of user or capabilities resets it.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, syscalls.SIGKILL)
    keeper = os.fork()
    if keeper == 0:
        _keep(plan, entered, control, status)
    os.close(status)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    os.waitpid(keeper, 0)
    os._exit(0)


def _keep(plan: RunPlan, entered: Entered, control: int, status: int) -> NoReturn:
    try:
        answer = marshal.dumps({**Keeper(plan, entered, control).keep()})
    except BaseException as error:  # noqa: BLE001  (the program does not run, and the answer says why)
        answer = marshal.dumps(f"{type(error).__name__}: {error}")
    with os.fdopen(status, "wb") as file:
        file.write(answer)
    # This is the first process of its pid namespace: its exit is complete only when all others are dead.
    os._exit(0)
