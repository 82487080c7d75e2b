"""The command line within this process, for stories that are told through it."""

from tests.qmtl.command_line import cli, vendor

__all__ = ["cli", "vendor"]
