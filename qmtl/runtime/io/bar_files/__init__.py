"""Bars from files and frames: CSV, Parquet, Feather/Arrow and JSON, plain or packed.

Nothing is guessed that could be wrong: a unit, a zone or a column that the file does not name is asked for.
"""

from qmtl.runtime.io.bar_files.many import read_bar_files
from qmtl.runtime.io.bar_files.options import Label, ReadingOptions, Unit
from qmtl.runtime.io.bar_files.reading import BarFile, read_bar_file, read_bar_frame

__all__ = ["BarFile", "Label", "ReadingOptions", "Unit", "read_bar_file", "read_bar_files", "read_bar_frame"]
