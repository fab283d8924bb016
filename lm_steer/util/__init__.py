"""Errors, files and other helpers for every room; nothing about steering."""
