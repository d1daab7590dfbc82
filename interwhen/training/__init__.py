"""Training data from journals: what was verified at test time becomes something to learn from."""

from interwhen.training._export import FORMATS, Exported, Format, export_journals

__all__ = ["FORMATS", "Exported", "Format", "export_journals"]
