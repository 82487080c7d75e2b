"""One file per promise; each has a `run(sizes, folder)` that gives its figures."""
