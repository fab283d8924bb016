"""Frozen models: download, load, and run them up to the output head."""
