"""Who decided what about a schema: decisions, the audit log, bundles, and the steps of a rollout."""
