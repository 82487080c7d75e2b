"""Whether a text that is JSON is a schema, by the rules of its language; every error names the place."""
