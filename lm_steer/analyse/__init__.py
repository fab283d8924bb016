"""Analyses beside the tables of a study."""
