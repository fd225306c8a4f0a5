"""Which replicas could serve a workload: enumerated, priced, and pruned with a reason for each one dropped."""
