"""Inputs of the capacity model that no machine has: small round numbers."""

import msgspec
from interwhen.bench.capacity._costs import AnswerLoad, Costs, Machine, Measured, Point

COSTS = Costs(
    process_us=2000.0,
    stream_us=20.0,
    wake_us=200.0,
    batch_ms=1.0,
    token_us=20.0,
    run_us=1000.0,
    check_us=100.0,
    worker_us=100.0,
    fork_us=500.0,
    remedy_us=1000.0,
    stream_kb=100.0,
    journal_run_bytes=1000.0,
    journal_token_bytes=10.0,
    journal_check_bytes=500.0,
)
LOAD = AnswerLoad(
    source="a test", tokens=1000, seconds=20.0, checks=10, check_ms=20.0, forks=2, fork_tokens=64, remedies=0.5
)
MACHINE = Machine(cores=8, memory_mb=32_000, open_files=20_000, ports=28_000, disk_gb=100)
POINT = Point(what="a point", unit="ms", measured=10.0, predicted=11.0)
MEASURED = Measured(costs=COSTS, load=LOAD, machine=MACHINE, points=(POINT,))


def changed(measured=MEASURED, **fields):
    """Return a copy of *measured* in which *fields* replace the costs and the values of the load of the same name."""
    for part in ("costs", "load"):
        mine = {name: value for name, value in fields.items() if hasattr(getattr(measured, part), name)}
        measured = msgspec.structs.replace(measured, **{part: msgspec.structs.replace(getattr(measured, part), **mine)})
    return measured
