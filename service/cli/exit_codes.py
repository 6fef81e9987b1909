"""How a command ends: exit codes, and the error that is the caller's fault."""

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """A wrong flag, setting or input; shown in one line."""
