"""The repository's format: sealed blobs in packs, manifests, WAL, records, keys. Knows no PostgreSQL server."""
