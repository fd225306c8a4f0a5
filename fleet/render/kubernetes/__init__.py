"""Kubernetes objects that carry workers: pods, where they may run, and the controllers of each target."""
