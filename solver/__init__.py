"""Sizing and placement of a fleet with OR-Tools: integers in, an answer and a certificate out."""
