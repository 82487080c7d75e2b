"""The command line within this process, for the tests of its modules."""

from tests.qmtl.command_line import cli, vendor

__all__ = ["cli", "vendor"]
