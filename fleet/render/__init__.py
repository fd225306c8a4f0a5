"""From the plan to Kubernetes objects and engine files."""
