"""Kinds of scorers, a module each, named after the kind."""
