"""The fit of the calibrated backend: data, pooled regression, cross-validation."""
