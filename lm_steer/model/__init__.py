"""Frozen models: obtained, loaded, and read up to their output head."""
