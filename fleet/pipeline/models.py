"""Resolves models: cards, permitted checkpoints, engines, KV formats and drafts."""

from __future__ import annotations

from collections.abc import Callable

from fleet.candidates.need import Drop, Weights
from fleet.catalog.hf_config import UnsupportedConfigError, card_from_hf_config
from fleet.catalog.records import Catalog, Checkpoint, EngineRelease, ModelCard
from fleet.diagnostics import Diagnostic, Rule, Severity, at, did_you_mean, enumerated, register
from fleet.layout import Precision
from fleet.perf.interface import Draft
from fleet.pipeline.resolved import ResolvedModel
from fleet.spec.model import CheckpointSpec, FleetSpec, ModelSpec, PolicySpec
from fleet.units import format_share

UNKNOWN_CARD = register(
    "unknown-model-card",
    what="A model names a card that the catalogue does not have.",
    why="Without the model's shape nothing can be computed: memory, layouts and speed all come from it.",
    fix="use an id that `fleetc catalog models` prints, or give hf_config: the path of the model's config.json",
)
UNREADABLE_CONFIG = register(
    "unreadable-model-config",
    what="A Hugging Face config.json is missing, is not JSON, or describes an architecture that is not known.",
    why="The parameter counts and the KV cache size are computed from it.",
    fix="give the path of the model's own config.json, relative to the fleet file",
)
NO_CHECKPOINT = register(
    "checkpoint-without-source",
    what="A checkpoint has no uri, and the catalogue knows none in this precision.",
    why="The engine has to load weights from somewhere, and a checkpoint in this precision may not exist.",
    fix="give the checkpoint's uri (hf://org/name, s3://…, pvc://claim/path), or drop the precision",
)
NOTHING_PERMITTED = register(
    "no-permitted-checkpoint",
    what="The policy keeps out every checkpoint of a model.",
    why="A model without a checkpoint cannot be served.",
    fix="allow another precision in policy.precisions, or add the quality record that the policy asks for",
)
LOW_PRECISION = register(
    "low-precision-without-quality-record",
    severity=Severity.WARNING,
    what="A checkpoint has fewer bits than the model was published in, and no quality record says what that costs.",
    why="Quantisation can lose quality on some tasks; a plan must not take that risk without somebody knowing.",
    fix="add quality: {benchmark, baseline, score, source}, or set policy.precisions.quality_record: not-needed",
)
QUALITY_FLOOR = register(
    "quality-below-floor",
    severity=Severity.WARNING,
    what="A checkpoint's own quality record loses more than the policy allows, so the plan does not use it.",
    why="The policy's quality floor comes before cost.",
    fix="raise policy.precisions.max_quality_loss, or remove the checkpoint",
)
PRECISION_NOT_ALLOWED = register(
    "precision-not-allowed",
    severity=Severity.WARNING,
    what="A checkpoint's precision is not in policy.precisions.allowed, so the plan does not use it.",
    why="The policy decides which precisions may serve.",
    fix="add the precision to policy.precisions.allowed, or remove the checkpoint",
)
ASSUMED_CHECKPOINT = register(
    "checkpoint-from-catalogue",
    severity=Severity.INFO,
    what="A model lists no checkpoints, so the catalogue's checkpoint in its native precision is used.",
    why="Cheaper precisions are only used when somebody has chosen them.",
    fix="list the checkpoints that may serve, with their precision",
)
ACCEPTANCE_UNKNOWN = register(
    "acceptance-length-unknown",
    what="Speculative decoding is asked for, and neither the file nor the catalogue says how many tokens a step yields.",
    why="The gain is the acceptance length; it depends on model, method and work, and a guess would be sold as speed.",
    fix="measure it and give acceptance_length",
)
ACCEPTANCE_ASSUMED = register(
    "acceptance-length-from-catalogue",
    severity=Severity.WARNING,
    what="The acceptance length of speculative decoding is a published figure, not one of your own traffic.",
    why="Acceptance depends on the work: chat accepts less than code.",
    fix="measure it on your traffic and give acceptance_length",
)
NO_ENGINE = register(
    "no-engine-for-model",
    what="No permitted engine of the catalogue is known to run a model.",
    why="A plan for an engine that cannot load the model would fail at start-up.",
    fix="permit another engine in policy.engines or models.<name>.engines",
)

Report = list[Diagnostic]


def resolve_models(
    spec: FleetSpec, catalog: Catalog, read_text: Callable[[str], str], found: Report
) -> dict[str, ResolvedModel]:
    """Return the models that could be resolved; problems are added to `found`."""
    resolved: dict[str, ResolvedModel] = {}
    for name, model in spec.models.items():
        card = _card(name, model, catalog, read_text, found)
        if card is None:
            continue
        permitted, refused = _weights(name, model, card, spec.policy, found)
        engines = _engines(name, model, card, spec.policy, catalog, found)
        draft = _draft(name, model, card, catalog, found)
        if permitted and engines:
            resolved[name] = ResolvedModel(
                name=name,
                spec=model,
                card=card,
                card_name=model.card or f"hf:{model.hf_config}",
                served_name=model.served_name or name,
                weights=permitted,
                refused=refused,
                kv_precisions=_kv(model, spec.policy),
                engines=engines,
                draft=draft,
            )
    return resolved


def _card(
    name: str, model: ModelSpec, catalog: Catalog, read_text: Callable[[str], str], found: Report
) -> ModelCard | None:
    if model.card is not None:
        card = catalog.models.get(model.card)
        if card is None:
            hint = did_you_mean(model.card, catalog.models)
            found.append(
                UNKNOWN_CARD.report(
                    f"the catalogue has no model '{model.card[:80]}'",
                    at("spec", "models", name, "card", text=hint),
                )
            )
        return card
    assert model.hf_config is not None, "the rule model-without-source ran before"
    try:
        return card_from_hf_config(read_text(model.hf_config), name)
    except UnsupportedConfigError as error:
        found.append(
            UNREADABLE_CONFIG.report(
                f"model '{name}': {error}", at("spec", "models", name, "hf_config", text="cannot be used")
            )
        )
        return None


def _weights(
    name: str, model: ModelSpec, card: ModelCard, policy: PolicySpec, found: Report
) -> tuple[tuple[Weights, ...], tuple[Drop, ...]]:
    published = {c.precision: c for c in card.checkpoints}
    if not model.checkpoints:
        found.append(
            ASSUMED_CHECKPOINT.report(
                f"model '{name}' is served in its native {card.native_precision}",
                at("spec", "models", name, on_key=True),
            )
        )
    listed: list[tuple[tuple[str | int, ...], CheckpointSpec]] = [
        (("checkpoints", i), c) for i, c in enumerate(model.checkpoints)
    ] or [((), CheckpointSpec(precision=card.native_precision))]
    permitted: list[Weights] = []
    refused: list[Drop] = []
    for suffix, checkpoint in listed:
        where = at("spec", "models", name, *suffix, on_key=not suffix)
        known = published.get(checkpoint.precision)
        uri = checkpoint.uri or (known.uri if known else None)
        if uri is None:
            found.append(
                NO_CHECKPOINT.report(f"model '{name}' has no known {checkpoint.precision} checkpoint", where)
            )
            continue
        if verdict := _verdict(name, checkpoint, card, policy):
            rule, message, keeps_out = verdict
            found.append(rule.report(message, where))
            if keeps_out:
                refused.append(Drop(rule.name, message))
                continue
        permitted.append(
            Weights(checkpoint.precision, _dense_precision(card, checkpoint.precision, known), uri)
        )
    if refused and not permitted:
        reasons = "; ".join(drop.detail for drop in refused)
        found.append(
            NOTHING_PERMITTED.report(
                f"model '{name}' has no checkpoint that the policy permits",
                at("spec", "models", name, on_key=True),
                notes=(reasons,),
            )
        )
    return tuple(permitted), tuple(refused)


def _verdict(
    name: str, checkpoint: CheckpointSpec, card: ModelCard, policy: PolicySpec
) -> tuple[Rule, str, bool] | None:
    """Return what the policy has to say about a checkpoint: the rule, the message, and whether it is kept out."""
    precision, rules = checkpoint.precision, policy.precisions
    if precision not in rules.allowed:
        return (
            PRECISION_NOT_ALLOWED,
            f"model '{name}': {precision} is not among the allowed {enumerated(rules.allowed)}",
            True,
        )
    if precision.bits >= card.native_precision.bits or rules.quality_record == "not-needed":
        return None
    if checkpoint.quality is None:
        keeps_out = rules.quality_record == "required"
        consequence = "so the plan does not use it" if keeps_out else "and the plan may use it"
        return (
            LOW_PRECISION,
            f"model '{name}': the {precision} checkpoint has no quality record, {consequence}",
            keeps_out,
        )
    record = checkpoint.quality
    loss = (record.baseline - record.score) / record.baseline if record.baseline else 0.0
    if loss <= rules.max_quality_loss:
        return None
    loses = (
        f"loses {format_share(loss)} on {record.benchmark}, more than {format_share(rules.max_quality_loss)}"
    )
    return QUALITY_FLOOR, f"model '{name}': the {precision} checkpoint {loses}", True


def _dense_precision(card: ModelCard, precision: Precision, known: Checkpoint | None) -> Precision:
    """What the layers outside the experts keep: as published, else the same, and BF16 beside MXFP4 experts."""
    if known and known.dense_precision:
        return known.dense_precision
    return Precision.BF16 if precision is Precision.MXFP4 else precision


def _engines(
    name: str, model: ModelSpec, card: ModelCard, policy: PolicySpec, catalog: Catalog, found: Report
) -> tuple[EngineRelease, ...]:
    wanted = model.engines or policy.engines
    releases = [e for e in catalog.engines if e.id in wanted]
    usable = tuple(e for e in releases if card.architecture in e.architectures)
    if usable and any(e.targets for e in usable):
        return usable
    where = ("spec", "models", name, "engines") if model.engines else ("spec", "models", name)
    reason = (
        "is not rendered by this version of fleetc" if usable else f"is not known to run {card.architecture}"
    )
    found.append(
        NO_ENGINE.report(
            f"model '{name}': {enumerated(sorted(wanted))} {reason}", at(*where, on_key=not model.engines)
        )
    )
    return ()


def _kv(model: ModelSpec, policy: PolicySpec) -> tuple[Precision, ...]:
    if model.kv_cache != "auto":
        return (Precision(model.kv_cache),)
    return (Precision.BF16, Precision.FP8) if policy.precisions.fp8_kv_cache else (Precision.BF16,)


def _draft(name: str, model: ModelSpec, card: ModelCard, catalog: Catalog, found: Report) -> Draft | None:
    wish = model.speculative
    if wish is None:
        return None
    where = at("spec", "models", name, "speculative")
    if wish.acceptance_length is not None:
        return Draft(wish.draft_tokens, wish.acceptance_length)
    known = next((a for a in catalog.acceptance if a.model == card.id and a.method == wish.method), None)
    length = known.find_mean_tokens(wish.draft_tokens) if known else None
    if length is None:
        found.append(
            ACCEPTANCE_UNKNOWN.report(
                f"no acceptance length is known for '{card.id}' with {wish.method}", where
            )
        )
        return None
    found.append(
        ACCEPTANCE_ASSUMED.report(
            f"model '{name}': {length} tokens a step are assumed with {wish.draft_tokens} draft tokens", where
        )
    )
    return Draft(wish.draft_tokens, length)
