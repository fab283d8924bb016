"""A table is made of the same results as the page."""

from report.conftest import few_draws, make_results, study_of_fixture

__all__ = ["few_draws", "make_results", "study_of_fixture"]
