"""Migration files, their units of execution, and the ledger they are recorded in."""
