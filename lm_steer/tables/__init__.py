"""Metrics, tables, effects and agreement, each number with its interval."""
