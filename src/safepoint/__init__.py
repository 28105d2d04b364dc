"""safepoint: changes, backs up and recovers a PostgreSQL database, and proves each before it is needed."""

__version__ = "0.1.0"
