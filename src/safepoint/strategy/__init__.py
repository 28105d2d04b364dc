"""The strategy file: safepoint.toml in, a frozen Strategy out. pydantic at the edge only."""
