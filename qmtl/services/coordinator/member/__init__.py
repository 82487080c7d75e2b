"""Machines with qmtl alone as a group of etcd: each coordinator keeps a member of it running."""
