"""What all services share: roles and credentials, limits, health, metrics, docs page, and how they run."""
