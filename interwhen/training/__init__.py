"""Training data from journals: what was verified at test time becomes something to learn from.

`export_journals` in `_export.py` writes rows in one of `FORMATS`; `_attempts.py` tells a journal as the attempts of
the model, `_rows.py` makes documents, chats, labelled steps and preference pairs of them, `_decontamination.py` keeps
out what is tested on.
"""

from interwhen.training._export import FORMATS, Exported, Format, export_journals

__all__ = ["FORMATS", "Exported", "Format", "export_journals"]
