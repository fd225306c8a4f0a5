"""From the committed plan to Pulumi resources."""

from fleet.deploy.stack import deploy_stack

__all__ = ["deploy_stack"]
