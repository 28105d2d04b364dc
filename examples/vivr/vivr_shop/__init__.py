"""The VIVR shop: a generator of its data, and shoppers who use it while it is migrated, backed up and recovered.

Needs psycopg and the standard library only. Nothing here knows safepoint: the shop is what safepoint is judged by.
"""
