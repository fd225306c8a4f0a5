"""The compiler: a fleet file through resolution, candidates and the solver to a plan."""
