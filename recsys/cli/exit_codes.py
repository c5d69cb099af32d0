"""Exit codes of the command line, apart from 0."""

__all__ = ["BROKEN_PIPE", "INTERRUPTED", "MISTAKE"]

MISTAKE = 2  # of the user: in an argument, a file or a setting
INTERRUPTED = 130  # by Ctrl+C, as in shells
BROKEN_PIPE = 141  # the reader of standard output is gone, as in shells
