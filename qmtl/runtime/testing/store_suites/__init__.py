"""The contract of a store as tests, one class per protocol; `store_suite` has all of them together."""
