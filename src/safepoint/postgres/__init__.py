"""All that touches a PostgreSQL server or its files."""
