"""Exit codes of the command line, apart from 0."""

__all__ = ["BROKEN_PIPE", "INTERRUPTED", "MISTAKE", "RETRY", "TERMINATED"]

MISTAKE = 2  # of the user: in an argument, a file or a setting
RETRY = 75  # the request is right, the machine refused: the same command may succeed later
INTERRUPTED = 130  # by Ctrl+C, as in shells
BROKEN_PIPE = 141  # the reader of standard output is gone, as in shells
TERMINATED = 143  # by SIGTERM, as in shells
