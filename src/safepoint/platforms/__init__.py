"""What a platform can do and how."""
