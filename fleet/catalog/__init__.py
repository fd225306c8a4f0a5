"""What the compiler knows of the world: accelerators, machines, prices, engines and models, every figure sourced."""
