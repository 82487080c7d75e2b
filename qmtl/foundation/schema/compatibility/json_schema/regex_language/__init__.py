"""Regular expressions as sets of strings: whether one string fits several, and the shortest that does."""
