//! `AnomalyDetector`: what is watched, how normal is learnt, when to alarm, and what was found.

mod detector;
mod features;
mod source;
mod status;

pub use detector::{
    AnomalyDetector, AnomalyDetectorSpec, AutoencoderSpec, Detection, Mode, ModelSpec, ModelType, Raise, TimeRange,
    Training,
};
pub use features::{ExtraFeature, FeatureKind, Features, Pack};
pub use source::{Notify, PrometheusSource, Receiver, SecretReference};
pub use status::{
    AnomalyDetectorStatus, Backtest, CauseStatus, ContributionStatus, Delivery, DeliveryState, DepartureStatus,
    FeatureStatus, IncidentStatus, LearntSignature, ModelRow, ModelStatus, PastSpan, State,
};
