//! `QueryCostModel`: what a model learns from, how it is judged and served, and what became of it.

mod model;
mod source;
mod status;

pub use model::{
    Autoscaling, Explain, FeatureMode, FeaturesSpec, Grid, Promotion, QueryCostModel, QueryCostModelSpec,
    RoutingGroups, Serving, SplitSpec, TargetDeclaration, TrainingSpec,
};
pub use source::{Files, LogColumns, LogFormat, PlanColumns, Source};
pub use status::{
    ClassStatus, CostModelStatus, DriftStatus, LogStatus, MethodStatus, QueryCostModelStatus, SplitStatus, TargetStatus,
};
