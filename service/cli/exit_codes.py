"""Defines how a command ends: exit codes, and the error that is the caller's fault."""

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """A flag, setting or input is wrong; shown in one line."""
