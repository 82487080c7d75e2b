"""Instances that fulfil given facts: small ones first, and those that lie on the edges."""
