"""The coordinator: leases for workers on many machines, kept in etcd."""
