"""How fast and how small: each promise of the project, measured beside its floor and two other tools."""
