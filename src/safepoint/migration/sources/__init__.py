"""Where migration files come from: one module per format. Each gives ordered values and touches no database."""
