"""The benchmark job of each deployment: the load of the plan's operating point, beside the tree that is synced."""
