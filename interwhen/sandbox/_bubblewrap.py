"""Uses bubblewrap (``bwrap``), instead of our own system calls, to make the namespaces and the file system."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interwhen.sandbox._inside import mounts, namespaces
from interwhen.sandbox._inside.plan import RunPlan, boot


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """The options for ``bwrap``."""

    python: str
    """The path of the interpreter that runs the launcher."""
    readable: tuple[tuple[str, str], ...]
    """Each path in the sandbox, and the real path on this machine that is mounted there."""
    files: dict[str, bytes]
    """The contents of further files by path: ``/etc/passwd`` and ``/etc/group``."""
    user: int | None
    """The user and group id under which ``bwrap`` is started; ``None``: those of this process."""
    in_user_namespace: bool

    def argv(self, descriptors: Sequence[int]) -> list[str]:
        """*descriptors* are those from which the contents of :attr:`files` can be read."""
        # The keeper mounts what bubblewrap cannot, and gives up all rights before it becomes the program.
        options = ["--cap-add", "ALL", "--die-with-parent", "--as-pid-1", "--unshare-cgroup-try"]
        options += [f"--unshare-{kind}" for kind in ("pid", "net", "ipc", "uts")]
        if self.in_user_namespace:
            options += ["--unshare-user", "--uid", str(namespaces.NOBODY), "--gid", str(namespaces.NOBODY)]
        # Bubblewrap may make parent directories that the program's user cannot enter, so name each of them.
        parents = {str(parent) for shown, _ in self.readable for parent in Path(shown).parents}
        for parent in sorted({*parents, "/dev", "/etc", mounts.HOME} - {"/"}):
            options += ["--dir", parent]
        for shown, source in self.readable:
            options += ["--ro-bind", source, shown]
        for name in mounts.DEVICES:
            options += ["--dev-bind-try", f"/dev/{name}", f"/dev/{name}"]
        for path, descriptor in zip(self.files, descriptors, strict=True):
            options += ["--perms", "0644", "--ro-bind-data", str(descriptor), path]
        options += ["--proc", "/proc", "--symlink", "/proc/self/fd", "/dev/fd"]
        for link in ("/dev/shm", "/tmp"):  # noqa: S108  (links to the program's own directory)
            options += ["--symlink", mounts.HOME, link]
        # The keeper later mounts the program's directory here, which hides the launcher's modules.
        options += ["--ro-bind", str(Path(mounts.__file__).parent), f"{mounts.HOME}/_inside"]
        options += ["--remount-ro", "/", "--chdir", "/"]
        launcher = [self.python, "-I", "-S", "-c", boot(mounts.HOME)]
        return [shutil.which("bwrap") or "bwrap", *options, "--", *launcher]


def wrap(plan: RunPlan, python: str, *, as_root: bool) -> Bubblewrap:
    # With `as_root`, root makes no user namespace, and the program gets an unused user id, if one is known.
    uid = namespaces.unused_uid(secrets.randbits(22)) if os.geteuid() == 0 else None
    kinds = {*namespaces.KINDS, "user"}
    if as_root and uid is not None:
        kinds.remove("user")
        plan["user"] = uid
    user = plan["user"] or namespaces.NOBODY
    plan["outer"] = {kind: namespaces.namespace_inode(kind) for kind in kinds}
    return Bubblewrap(
        python,
        tuple(plan["readable"]),
        mounts.accounts(user, user),
        user=None if plan["user"] else uid,
        in_user_namespace=not plan["user"],
    )
