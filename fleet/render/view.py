"""One deployment with what its objects need from the rest of the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from fleet.plan.document import Deployment, FleetPlan, PlannedModel, PlannedOffering, WorkerGroup
from fleet.render.engines.checkpoint import Checkpoint, read_checkpoint
from fleet.render.errors import UnrenderablePlan
from fleet.render.identity import component_of
from fleet.render.racks import RackGroup, rack_groups

PRE_STOP_S = 10
"""Seconds that a stopping pod still serves, so that routers learn of it first."""
AFTER_DRAIN_S = 30
PROBE_PERIOD_S = 10
COMPILE_S = 600.0
"""Allowance for compilation, CUDA graphs and warm-up, beside the load of the weights."""
SLOW_LOAD = 2.0
"""How much slower than the plan's assumption weights may load before the pod is given up."""


@dataclass(frozen=True)
class DeploymentView:
    """A deployment, its model and its offering."""

    plan: FleetPlan
    deployment: Deployment
    offering: PlannedOffering
    model: PlannedModel

    @property
    def name(self) -> str:
        """The deployment's component and base name."""
        return component_of(self.deployment)

    @property
    def namespace(self) -> str:
        return self.plan.delivery.namespace

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return read_checkpoint(self.deployment.checkpoint_uri)

    @cached_property
    def groups(self) -> tuple[RackGroup, ...]:
        return rack_groups(self.plan, self.deployment, self.offering)

    @property
    def largest_pod_gpus(self) -> int:
        return max(group.gpus_per_host_used for group in self.deployment.workers)

    @property
    def drain_s(self) -> int:
        """Seconds that running requests get to end: as long as the gateway waits for any of them."""
        return math.ceil(self.plan.gateway.request_timeout_ms / 1000)

    @property
    def grace_s(self) -> int:
        """terminationGracePeriodSeconds: longer than the engine's own drain, else the kubelet kills it before its end."""
        return PRE_STOP_S + self.drain_s + AFTER_DRAIN_S

    @property
    def startup_probes(self) -> int:
        """Failed start-up probes before a pod is restarted."""
        return math.ceil((SLOW_LOAD * self.deployment.weight_load_s + COMPILE_S) / PROBE_PERIOD_S)

    @property
    def has_kv_over_nvlink(self) -> bool:
        """Whether the pods can move KV over NVLink as planned: on racks, where every worker takes whole trays.

        A ComputeDomain has one channel on a node, so of several pods on a tray one would get it and the others wait
        for ever (kubernetes-sigs/dra-driver-nvidia-gpu, issues 309 and 353).
        """
        takes_trays = all(
            group.gpus_per_host_used == self.offering.gpus_per_host for group in self.deployment.workers
        )
        return self.offering.domain == "rack" and self.deployment.kv_link == "nvlink" and takes_trays

    def claims_channel(self, group: WorkerGroup) -> bool:
        """Whether a worker's pods reach GPUs of other hosts over NVLink, and so claim their ComputeDomain's channel."""
        return self.offering.domain == "rack" and (group.hosts_per_worker > 1 or self.has_kv_over_nvlink)

    @property
    def needs_compute_domain(self) -> bool:
        return any(self.claims_channel(group) for group in self.deployment.workers)


def views(plan: FleetPlan) -> tuple[DeploymentView, ...]:
    """Every deployment with its model and offering, in the plan's order.

    Raises:
        UnrenderablePlan: a name that is not in the plan, or an engine without a renderer.
    """
    offerings = {offering.name: offering for offering in plan.offerings}
    models = {model.name: model for model in plan.models}
    found = []
    for deployment in plan.deployments:
        if deployment.offering not in offerings or deployment.model not in models:
            raise UnrenderablePlan(
                f"deployment {deployment.id} names the offering {deployment.offering} and the model {deployment.model}; the plan does not have both."
            )
        if deployment.engine.id != "vllm":
            raise UnrenderablePlan(
                f"deployment {deployment.id}: the engine {deployment.engine.id} is not rendered yet; allow vllm in policy.engines."
            )
        if not deployment.replicas:
            raise UnrenderablePlan(f"deployment {deployment.id} has no replicas.")
        found.append(
            DeploymentView(plan, deployment, offerings[deployment.offering], models[deployment.model])
        )
    return tuple(found)
