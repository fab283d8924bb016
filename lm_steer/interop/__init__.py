"""Steers in other engines and formats."""
