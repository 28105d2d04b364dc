"""Shoppers: threads that use the shop as an application does, and a log of every acknowledged commit."""
