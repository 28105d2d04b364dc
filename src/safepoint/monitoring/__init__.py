"""Checks: facts about the strategy's state, each with its evidence."""
