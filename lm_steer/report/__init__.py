"""The page and its figures, records of runs, and model cards."""
