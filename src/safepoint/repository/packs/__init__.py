"""Packs: many sealed blobs in one object; written in parallel, read at random or in order, found by index."""
