"""Instances that fulfil given constraints: small ones first, and those on the limits."""
