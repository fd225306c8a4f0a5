"""The review: two plans compared, printed for people and machines."""
