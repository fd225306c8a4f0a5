"""The command `fleetc`."""
