"""How a registry is spoken to over HTTP: where it is, one exchange with it, and what its answers mean."""
