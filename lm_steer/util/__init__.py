"""Errors, files and what else every room needs; nothing of steering."""
