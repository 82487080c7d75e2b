"""A schema registry: what it promises, its clients, its rules, and where it keeps its rows."""
