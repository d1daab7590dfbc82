"""Work while nobody waits: one step of one context at a time, each stored before the next one begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import anyio
from msgspec.structs import replace

from interwhen._log import log_info, log_warning
from interwhen.errors import ModelError, OutOfTokens, StoreError, UsageError
from interwhen.precompute.desk import WorkDesk
from interwhen.precompute.items import Cost, Item, Status
from interwhen.precompute.judging import Judge
from interwhen.precompute.making import make
from interwhen.precompute.metering import Meter
from interwhen.precompute.prepared import Prepared, context_document, spend
from interwhen.precompute.producer import Context, Planned

if TYPE_CHECKING:
    from interwhen.precompute.precomputer import Precomputer

_LOOK_SECONDS = 5.0
"""How often a worker without work looks whether somebody else has edited a context."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a step that failed is tried again: doubled each time."""
_STORE_SECONDS = 30.0

Ending = Literal["called off", "late", "failed", "out of tokens", "found"]
"""How a slice can end without an item of its own. ``found``: another worker had made it."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice of work came to."""

    context: str
    step: str
    came_to: Status | Ending
    cost: Cost = field(default_factory=Cost)
    why: str = ""


@dataclass(slots=True)
class _Trouble:
    again_at: float
    pause: float


class Sleeper:
    """Does the slices. One at a time, however many ask it to."""

    def __init__(
        self,
        host: Precomputer,
        judge: Judge,
        *,
        token_budget: int,
        step_tokens: int,
        step_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._judge = judge
        self._token_budget = token_budget
        self._step_tokens = step_tokens
        self._step_seconds = step_seconds
        self._clock = clock
        self._troubles: dict[tuple[str, str, int], _Trouble] = {}
        self._turn = 0
        self._news: anyio.Event | None = None
        self._is_working = False

    def wake(self) -> None:
        """Note that there may be work."""
        if self._news is not None:
            self._news.set()

    async def work(self, slices: int | None) -> tuple[Slice, ...]:
        """Do what is due now; return what was done."""
        done: list[Slice] = []
        while slices is None or len(done) < slices:
            found = await self.slice()
            if found is None:
                break
            done.append(found)
        return tuple(done)

    async def sleep_and_work(self) -> None:
        """Do what is due, then wait for more, for ever."""
        while True:
            self._news = anyio.Event()
            try:
                done = await self.slice()
            except StoreError as error:
                log_warning("sleeper.stopped_short", why=error.reason)
                done = None
            if done is None:
                with anyio.move_on_after(_LOOK_SECONDS):
                    await self._news.wait()

    async def slice(self) -> Slice | None:
        """Wait until it is quiet and do one slice of work; ``None``: there is none."""
        if self._is_working:
            raise UsageError("this precomputer is at work already, in another task: one works at a time")
        self._is_working = True
        try:
            await self._host.turnstile.quiet()
            found = await self._next()
            if found is None:
                return None
            return await self._work_on(*found)
        finally:
            self._is_working = False

    # ------------------------------------------------------------------ which step

    async def _next(self) -> tuple[Prepared, Context, Planned] | None:
        """Return the most urgent step of the next context that has one; contexts take turns."""
        names = list(self._host.contexts)
        self._turn += 1
        for at in range(len(names)):
            name = names[(self._turn + at) % len(names)]
            try:
                prepared = await self._up_to_date(name)
            except Exception as error:  # noqa: BLE001  (the plan of a producer may raise anything; others go on)
                log_warning("context.failed", context=name, why=f"{type(error).__name__}: {error}")
                continue
            if prepared.context is None or prepared.spending.cost.generated >= self._token_budget:
                continue
            for step in prepared.holding.due:
                if not self._is_in_trouble(prepared, step):
                    return prepared, prepared.context, step
        return None

    async def _up_to_date(self, name: str) -> Prepared:
        prepared = self._host.contexts[name]
        generation = await self._host.in_store(lambda: self._host.store.generation(context_document(name)))
        if generation != prepared.generation:
            return await self._host.refresh(name)
        prepared.seen_at = anyio.current_time()
        return prepared

    def _is_in_trouble(self, prepared: Prepared, step: Planned) -> bool:
        trouble = self._troubles.get((prepared.name, step.name, prepared.generation))
        return trouble is not None and anyio.current_time() < trouble.again_at

    # ------------------------------------------------------------------ one step

    async def _work_on(self, prepared: Prepared, context: Context, step: Planned) -> Slice:
        host = self._host
        await host.in_store(lambda: prepared.look_again(host.store, step))
        if (there := prepared.holding.items.get(step.name)) is not None:
            return Slice(prepared.name, step.name, "found", why=there.status)
        meter = Meter(self._token_budget - prepared.spending.cost.generated, yield_now=host.turnstile.yield_now)
        desk = WorkDesk(
            step,
            context,
            prepared.holding.items,
            model=host.model,
            meter=meter,
            judge=self._judge,
            step_tokens=self._step_tokens,
        )
        came_to: Item | Slice | None = None
        try:
            with host.turnstile.slice(), anyio.move_on_after(self._step_seconds) as limit:
                came_to = await self._made(prepared, step, desk, meter)
        finally:
            await self._account(prepared, step, meter.cost, discarded=not isinstance(came_to, Item))
        if came_to is None:
            ending: Ending = "late" if limit.cancelled_caught else "called off"
            came_to = Slice(prepared.name, step.name, ending, meter.cost)
            if ending == "late":
                self._failed(prepared, step, f"no item within {self._step_seconds:g} s")
        if isinstance(came_to, Slice):
            return came_to
        return await self._keep(prepared, step, came_to)

    async def _made(self, prepared: Prepared, step: Planned, desk: WorkDesk, meter: Meter) -> Item | Slice:
        try:
            return await make(step, desk, meter, self._host.surroundings, self._clock)
        except OutOfTokens as error:
            return Slice(prepared.name, step.name, "out of tokens", meter.cost, str(error))
        except (ModelError, StoreError) as error:
            why = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  (a producer may raise anything: it costs its own step only)
            why = f"{type(error).__name__}: {error}"
        self._failed(prepared, step, why)
        return Slice(prepared.name, step.name, "failed", meter.cost, why)

    def _failed(self, prepared: Prepared, step: Planned, why: str) -> None:
        key = (prepared.name, step.name, prepared.generation)
        last = self._troubles.get(key)
        pause = _FIRST_PAUSE if last is None else min(last.pause * 2, _LONGEST_PAUSE)
        self._troubles[key] = _Trouble(anyio.current_time() + pause, pause)
        log_warning("step.failed", context=prepared.name, step=step.name, why=why, again_in=pause)

    async def _account(self, prepared: Prepared, step: Planned, cost: Cost, *, discarded: bool) -> None:
        """Write down what was spent, also when the slice was called off."""
        if cost == Cost():
            return
        host = self._host
        past = prepared.spending
        # It counts here also where it cannot be written down.
        prepared.spending = replace(past, cost=past.cost + cost, slices=past.slices + 1)
        try:
            with anyio.move_on_after(_STORE_SECONDS, shield=True):
                prepared.spending = await host.in_store(
                    lambda: spend(host.store, prepared.name, cost, discarded=discarded)
                )
        except StoreError as error:
            self._failed(prepared, step, error.reason)
            raise

    async def _keep(self, prepared: Prepared, step: Planned, made: Item) -> Slice:
        host = self._host
        try:
            stored = await host.in_store(lambda: host.store.put(made))
        except StoreError as error:
            # Made again at once, it would cost the same tokens again, and come to the same end.
            self._failed(prepared, step, error.reason)
            raise
        prepared.take(step, stored)
        log_info("step.made", context=prepared.name, step=step.name, status=stored.status, tokens=made.cost.generated)
        return Slice(prepared.name, step.name, stored.status, made.cost, stored.why)


class Idle:
    """``async with precomputer.idle():`` — work is done beside the block; leaving it ends the work.

    What was stored is there the next time: nothing else needs to be saved.
    """

    def __init__(self, sleeper: Sleeper) -> None:
        self._sleeper = sleeper

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._sleeper.sleep_and_work, name="sleeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._group.cancel_scope.cancel()
        if isinstance(error, anyio.get_cancelled_exc_class()):
            return await self._group.__aexit__(kind, error, traceback)
        # An exception of the block goes on as it is: the group would wrap it in an exception group.
        await self._group.__aexit__(None, None, None)
        return None
