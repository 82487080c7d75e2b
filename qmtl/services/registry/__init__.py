"""The schema registry as a server that Confluent's clients talk to."""
