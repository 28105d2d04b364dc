"""Care: collection, checks, verification, repair and copies of a repository that is in use."""
