"""Judges of texts, and the store that keeps their scores."""
