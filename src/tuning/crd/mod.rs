//! `PostgresTuning` and `TuningTrial`: the specification and the record of a tuning.

mod search;
mod status;
mod trial;
mod tuning;
mod workload;

pub use search::{
    Algorithm, Budget, DdpgSpec, Durability, KnobRange, KnobSelection, OptimizerSpec, Profile, RewardKind, Safety,
};
pub use status::{
    Evaluated, HistoryEntry, KnobScale, OriginalConfiguration, ParameterChange, PostgresTuningStatus, Recommendation,
    SessionKnob, SessionOutcome, SessionRecord, SessionResources,
};
pub use trial::{Arm, TrialKind, TrialState, TuningTrial, TuningTrialSpec, TuningTrialStatus};
pub use tuning::{
    DeletionPolicy, InstanceReference, Mode, Objective, ObjectiveMetric, PostgresTuning, PostgresTuningSpec,
    RestartPolicy,
};
pub use workload::{Builtin, ConfigMapKeySelector, Pgbench, Script, Workload};
