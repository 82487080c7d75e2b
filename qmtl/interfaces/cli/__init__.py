"""The command line: every verb of the Python API, for shells and for people."""
