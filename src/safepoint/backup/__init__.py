"""Physical backups and WAL, from a server into a repository."""
