"""The rules of a registry, as functions over the rows of one transaction."""
