"""What to measure next: benchmark runs by what their outcome is worth to the plan, each outcome solved again."""
