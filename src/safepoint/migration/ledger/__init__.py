"""Where it is recorded what was applied: the team's own table, and safepoint's journal beside it."""
