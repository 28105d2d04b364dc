"""The command line: parses, shows, asks; decides nothing.

stdout is data (text or, with --json, one JSON value); plans, progress and errors are talk and go to stderr.
"""

from safepoint.cli.main import main

__all__ = ["main"]
