"""Says where a name is that a facade promised earlier. This module is loaded only for the message of an error."""

MOVED = {
    "interwhen": {
        "interwhen.clients": "Refused SupervisionInfo supervision_info",
        "interwhen.events": (
            "CheckSettled CheckStarted Event Finished FrontierMoved Remedied StreamBroken StreamEnded StreamStarted "
            "ViolationFound"
        ),
        "interwhen.integrations": "last watching",
        "interwhen.journal": "Journal JournalError read_journal timeline",
        "interwhen.models": "Model ModelError",
        "interwhen.registry": "PluginError load_model",
        "interwhen.remedies": "Abstain Conclude FeedbackTemplate Remedy Retry Stop",
        "interwhen.results": (
            "Cancelled Certificate CheckRecord Errored Judged Ledger Skipped TimedOut Timing ViolationRecord"
        ),
        "interwhen.toolkit": "Delivery FunctionVerifier Level Mention PhaseFilter Scope Verifier on_cancel time_left",
        "interwhen.triggers": "EveryChars Markers Polls ThinkEnd Trigger",
    },
    "interwhen.clients": {"interwhen": "guard wrap"},
    "interwhen.journal": {"interwhen.results": "Insertion JournalState"},
    "interwhen.models": {"interwhen": "Message Sampling"},
    "interwhen.toolkit": {"interwhen.clients": "PromptRefused", "interwhen.results": "UnverifiedReason"},
}
"""By facade: the facade that promises a name now, and the names."""

PRIVATE = {
    "interwhen": "Phase",
    "interwhen.clients": "Part Reading Settings WatchedCalls",
    "interwhen.gateway": "Gateway schema",
    "interwhen.integrations": "KEY",
    "interwhen.journal": (
        "BlockedLoop Clerk JournalDirectory JournalFile JournalSettings Journaled Recheck RecheckFinding Replay "
        "ResumeCost SkippedEvent Status Timeline TimelineEvent Verification WireReport Writing flaws"
    ),
    "interwhen.models": (
        "FinishReason HttpRequest HttpResponse Httpx2Transport LocalModel MalformedEvent MeteredModel ModelWrapper "
        "OrphanedStream OutOfTokens Piece Recording ResumeMode ResumeWay StreamNotes TimedChunk Transport "
        "UnexpectedForm"
    ),
    "interwhen.policy": ("Admission AdmissionProblem Coverage Covered Example MutantTally RuleVerdict Schema Tool"),
    "interwhen.precompute": (
        "Accepted BASES Basis ContextPiece ContextRef ContextUse Cost Digest Document ForegroundGate IdleWork Input "
        "Item ItemId ItemKey Judge Judgement Proof Quarantined Rejected ServeReady Served ServingPolicy Shelf "
        "Slice SlotId Status StoreConflict Undecided UnknownContext digest installed_producers load_producers"
    ),
    "interwhen.sandbox": "Finding Guarantee Guarantees LimitName Program Record",
    "interwhen.strategies": (
        "BestOf CheckCounts Claimed Greedy Interrupt Outcome Vote Watching judge load_exercises load_strategies seed_of"
    ),
    "interwhen.testing": (
        "Cases Rate Score Spread Step TrialProblem TrialResult TrialViolation VirtualLoop VirtualTimeError cut_into "
        "segments"
    ),
    "interwhen.toolkit": "CallFormat Extractor Offset OnError Outcome Parser PromptRecord WrittenCalls",
    "interwhen.training": "Exported FORMATS Format",
}
"""By facade: names that it promises no more, since no page of the docs, example or plug-in needs them."""

_COPY = "copy examples/strategies/{}.py of the source tree"
_RATES = "call measure_prefix_rates() of a local model, and forks restore a saved prefix where that is faster"
REMOVED = {
    "interwhen.precompute.Embedder": (
        "Precomputer.passages ranks by words; rank Context.pieces by your own embeddings"
    ),
    "interwhen.precompute.LlamaSlots": (
        "POST /slots/0?action=save (or restore) to the llama.cpp server yourself, as its documentation says"
    ),
    "interwhen.resume_sync": "use interwhen.resume with anyio.run",
    "interwhen.strategies.AdaptiveAllocator": (
        "use until-verified, which stops at the first verified answer, or interrupt-auto"
    ),
    "interwhen.strategies.BudgetForcing": _COPY.format("budget_forcing"),
    "interwhen.strategies.ForkPlanner": _RATES,
    "interwhen.strategies.PlannedModel": _RATES,
    "interwhen.strategies.RemedyBeliefs": "use the remedy Auto, and set its order if you want another one",
    "interwhen.strategies.Revision": _COPY.format("revision"),
    "interwhen.strategies.StepSearch": _COPY.format("step_beam"),
    "interwhen.strategies.probe_rates": _RATES,
    "interwhen.toolkit.normalization": "import normalize and Normalized from interwhen.toolkit",
}
"""Names that do not exist any more, and what to use instead."""


def advice(facade: str, name: str) -> str | None:
    path = f"{facade}.{name}"
    for home, names in MOVED.get(facade, {}).items():
        if name in names.split():
            return f"{path} moved to {home}: write `from {home} import {name}`"
    if path in REMOVED:
        return f"{path} was removed: {REMOVED[path]}"
    if name in PRIVATE.get(facade, "").split():
        return f"{path} is private now and may change at any time: tests/public_api.txt lists what is promised"
    return None
