"""Exports training data from journals of runs.

`export_journals` in `_export.py` writes rows in one of `FORMATS`. `_attempts.py` reads a journal as the attempts of
the model, `_rows.py` makes documents, chats, labelled steps and preference pairs from them, and `_decontamination.py`
leaves out rows that overlap with test data.
"""

from interwhen.training._export import FORMATS, Exported, Format, export_journals

__all__ = ["FORMATS", "Exported", "Format", "export_journals"]
