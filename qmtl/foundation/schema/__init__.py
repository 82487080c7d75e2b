"""What a schema is, who may change it, and what a change would break."""
