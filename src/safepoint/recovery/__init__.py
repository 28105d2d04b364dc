"""Restores: from a repository to a running, checked server."""
