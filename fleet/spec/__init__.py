"""The fleet file: its types, its loader and its rules."""
