"""Sealing: keys, and how pieces of objects are made tamper-evident. Everything else asks this room for both."""
