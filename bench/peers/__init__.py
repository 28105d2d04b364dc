"""The tools that physical backups are measured against, each used as its own documentation says."""
