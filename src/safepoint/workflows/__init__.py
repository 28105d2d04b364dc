"""The use cases, and the only place where everything is wired."""
