"""Mocks that record resource options too: protect, retainOnDelete, aliases, parent, dependencies, timeouts.

`pulumi.runtime.Mocks` never sees options; the monitor's RegisterResource request does.
"""

from __future__ import annotations

from typing import Any

from pulumi.runtime import mocks


class EchoMocks(mocks.Mocks):
    """Returns inputs as outputs."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return args.resource_id or f"{args.name}-id", dict(args.inputs)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        return {}, None


class CapturingMonitor(mocks.MockMonitor):
    """Keeps every registration, in order."""

    def __init__(self, echo: mocks.Mocks) -> None:
        super().__init__(echo)
        self.requests: list[Any] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the protocol's name
        self.requests.append(request)
        return super().RegisterResource(request)


def install(project: str = "fleetc", stack: str = "dev") -> CapturingMonitor:
    """Make the SDK of this process talk to a new capturing monitor."""
    echo = EchoMocks()
    monitor = CapturingMonitor(echo)
    mocks.set_mocks(echo, project=project, stack=stack, preview=False, monitor=monitor)
    return monitor
