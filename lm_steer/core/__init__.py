"""Steers: attached to a model, folded into it, saved and shared."""
