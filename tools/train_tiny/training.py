"""Training: Muon for the matrices, AdamW for the rest, a loss curve, checkpoints, and the time that is left."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  # noqa: N812
from torch import Tensor, nn

from .batches import IGNORED, Batch, batches
from .model import Shape, Tiny

CURVE = "loss.csv"
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a training."""

    steps: int = 9600
    rows: int = 12
    length: int = 400
    matrix_rate: float = 5e-3
    other_rate: float = 3e-3
    weight_decay: float = 0.05
    warm: float = 0.02
    """The share of the steps in which the rates rise."""
    fall: float = 0.6
    """The share of the steps, at the end, in which they fall to nothing."""
    seed: int = 20
    checkpoint_every: int = 300


def rate(recipe: Recipe, step: int) -> float:
    done = (step + 1) / recipe.steps
    return min(1.0, done / recipe.warm, max(0.0, (1 - done) / recipe.fall) + 1e-3)


def train(
    recipe: Recipe,
    shape: Shape,
    folder: Path,
    say: Callable[[str], None],
    *,
    device: torch.device,
    compiled: bool,
) -> Tiny:
    # An interrupted run continues with the same data, so it ends like an unbroken one, up to rounding.
    torch.manual_seed(recipe.seed)
    model = Tiny(shape).to(device)
    optimizers = _optimizers(model, recipe)
    first = _load(folder / CHECKPOINT, model, optimizers, recipe)
    data = _on(device, batches(recipe.seed, recipe.rows, recipe.length))
    for _ in range(first):
        next(data)
    held_out = list(islice(_on(device, batches(recipe.seed + 1, recipe.rows, recipe.length, "test")), 2))
    forward: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"{count:,} parameters, steps {first} to {recipe.steps}, {recipe.rows * recipe.length:,} tokens each")
    begun, shown = time.monotonic(), 0.0
    for step in range(first, recipe.steps):
        factor = rate(recipe, step)
        for optimizer, base in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = base * factor
        loss = _loss(forward, *next(data))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(loss.item()):
            raise SystemExit(
                f"the loss must be finite, got {loss.item()} at step {step + 1}: lower the rates, or remove {folder}"
            )
        last = step + 1 == recipe.steps
        if last or (step + 1) % recipe.checkpoint_every == 0:
            with torch.no_grad():
                held = sum(_loss(forward, *batch).item() for batch in held_out) / len(held_out)
            _note(folder / CURVE, step + 1, loss.item(), held)
            _save(folder / CHECKPOINT, model, optimizers, recipe, step + 1)
            say(f"step {step + 1}: loss {loss.item():.4f}, on problems held out {held:.4f}")
        elif step - first < 10 or time.monotonic() - shown > 20:
            shown = time.monotonic()
            left = (shown - begun) / (step + 1 - first) * (recipe.steps - step - 1)
            say(f"step {step + 1} of {recipe.steps}: loss {loss.item():.4f}, {left / 60:.0f} min left")
    return model


def _on(device: torch.device, data: Iterator[Batch]) -> Iterator[Batch]:
    for ids, targets in data:
        yield ids.to(device), targets.to(device)


def _loss(forward: Callable[[Tensor], Tensor], ids: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = forward(ids)
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


_Optimizers = list[tuple[torch.optim.Optimizer, float]]


def _optimizers(model: Tiny, recipe: Recipe) -> _Optimizers:
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return [
        (
            torch.optim.Muon(
                matrices, recipe.matrix_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            recipe.matrix_rate,
        ),
        (torch.optim.AdamW(others, recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.0), recipe.other_rate),
    ]


def _save(path: Path, model: Tiny, optimizers: _Optimizers, recipe: Recipe, step: int) -> None:
    part = path.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in optimizers],
            "recipe": asdict(recipe),
            "shape": asdict(model.shape),
            "step": step,
        },
        part,
    )
    part.replace(path)


def _load(path: Path, model: Tiny, optimizers: _Optimizers, recipe: Recipe) -> int:
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True, map_location=model.embedding.weight.device)
    if saved["recipe"] != asdict(recipe) or saved["shape"] != asdict(model.shape):
        raise SystemExit(
            f"{path} must come from this recipe, and comes from another: give another --folder, or remove it"
        )
    model.load_state_dict(saved["model"])
    for (optimizer, _), state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return int(saved["step"])


def _note(path: Path, step: int, loss: float, held: float) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("step", "loss", "held_out"))
        writer.writerow((step, f"{loss:.5f}", f"{held:.5f}"))
