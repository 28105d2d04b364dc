"""Backups and WAL into the repository: physical backups, the WAL receiver, what is covered, what holds."""
