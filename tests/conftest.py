"""What all tests share: support modules on the path, and hypothesis without a stopwatch (CI machines are slow)."""

import sys
from pathlib import Path

from hypothesis import settings

# A folder of its own, because worker processes must be able to import what is in it.
sys.path.insert(0, str(Path(__file__).parent / "engine" / "support"))

settings.register_profile("interwhen", deadline=None)
settings.load_profile("interwhen")
