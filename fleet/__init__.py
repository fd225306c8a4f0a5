"""fleetc, the fleet compiler: models, SLOs, demand and GPUs in; a proven plan and its manifests out."""
