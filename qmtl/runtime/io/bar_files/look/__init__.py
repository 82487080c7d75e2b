"""What a file of bars holds and how it can be read, without importing it: `look_at`.

A pure core proposes ways of reading from the first and last bytes of a file; the reader that
imports files judges them.
"""

from qmtl.runtime.io.bar_files.look.looking import look_at
from qmtl.runtime.io.bar_files.look.looks import Look
from qmtl.runtime.io.bar_files.look.refused import look_below
from qmtl.runtime.io.bar_files.look.text import short_text_of, text_of

__all__ = ["Look", "look_at", "look_below", "short_text_of", "text_of"]
