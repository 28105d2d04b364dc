"""The demo: VIVR's shop is changed, backed up, destroyed and recovered; every number is measured meanwhile."""
