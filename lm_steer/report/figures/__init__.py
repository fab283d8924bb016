"""The figures of the page: rows of marks, curves, and planes of two scores, in one style (style.py)."""
