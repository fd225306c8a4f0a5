"""Accuracy of the estimates by cross-validation: what `make accuracy` runs."""
