"""Registers the committed plan of the selected stack."""

from pathlib import Path

import pulumi

from fleet.deploy import deploy_stack

config = pulumi.Config()
folder = Path(__file__).resolve().parent / (config.get("stackFolder") or pulumi.get_stack())
fleet = deploy_stack(folder, protect_capacity=config.require_bool("protectCapacity"))
for name, value in fleet.outputs.items():
    pulumi.export(name, value)
