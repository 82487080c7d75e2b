"""The text by which a schema is stored, compared and identified."""
