"""Engine files and launch commands, rendered from templates and parsed back."""
