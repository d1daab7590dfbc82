"""Train the model and write its GGUF file: ``python -m tools.train_tiny`` in the root of the repository."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from .export import export
from .model import Shape
from .training import Recipe, train

NAME = "interwhen-tiny"


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.train_tiny", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"), help="for checkpoints, curve and weights")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="20 are enough to see that all works")
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which needs a C++ compiler")
    parser.add_argument("--precision", choices=("q8_0", "f16"), default="q8_0")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    recipe = replace(Recipe(), steps=chosen.steps, seed=chosen.seed)
    model = train(recipe, Shape(), chosen.folder, say, device=torch.device(chosen.device), compiled=not chosen.eager)
    path = chosen.folder / "tiny.gguf"
    export(model, path, name=NAME, precision=chosen.precision)
    say(f"{path}: {path.stat().st_size:,} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
