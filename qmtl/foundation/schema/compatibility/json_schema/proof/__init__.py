"""Whether all that the writer may write fulfils what the reader asks, keyword by keyword."""
