"""Commit: what makes a backup exist, who is writing, and what may be deleted. The protocol is in docs/FORMAT.md."""
