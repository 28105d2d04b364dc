"""The benchmark: speed and size of a repository against the plain tools, measured in one run on one machine."""
