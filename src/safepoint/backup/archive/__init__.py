"""WAL in by archive_command: a helper that asks, a resident pusher that works ahead, and the same work done inline."""
