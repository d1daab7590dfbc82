"""Exports training data from journals of runs.

`_attempts.py` reads a journal as the attempts of the model, `_rows.py` makes rows from them, `_decontamination.py`
leaves out rows that overlap with test data, and `export_journals` in `_export.py` writes them.
"""

from interwhen.training._export import FORMATS, Exported, Format, export_journals

__all__ = ["FORMATS", "Exported", "Format", "export_journals"]
