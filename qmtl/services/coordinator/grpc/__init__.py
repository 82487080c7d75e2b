"""Calls of gRPC, as far as etcd needs them: one request and one answer each."""
