//! Why a model is learnt, served and trusted as it is.

crate::reasons! {
    /// Reasons of a QueryCostModel.
    pub enum Reason {
        /// The model is served, by every replica.
        Serving,
        /// The replicas change to another model or specification; those that are ready answer.
        RollingOut,
        /// No replica is ready.
        NotServing,
        /// There is no model yet.
        NotTrained,
        /// A model learns what statements cost.
        Training,
        /// The model is trained and in use.
        Trained,
        /// The retrained model is in use.
        ModelPromoted,
        /// The retrained model is not better by promotion.minAccuracyGainPercent; the one before goes on.
        ModelRejected,
        /// The training made no model and is tried again.
        TrainingFailed,
        /// The training's pod can't start.
        TrainingPending,
        /// The training's Job is gone, and with it its result.
        TrainingLost,
        /// Trainings and replicas need the operator's own pod as their pattern, and it can't be read.
        PatternUnknown,
        /// The log was read, and its statements have costs.
        DataAvailable,
        /// The log has not been read yet.
        DataUnknown,
        /// The log can't be read.
        SourceUnreadable,
        /// The log may not be read: a right or a grant is missing.
        SourceForbidden,
        /// A Secret (the bucket's credentials, or the connection for EXPLAIN), or one of its keys, is missing or can't be used.
        SecretMissing,
        /// The PostgresInstance of the specification does not exist.
        InstanceMissing,
        /// The log's statements are too few, or have no costs or no classes.
        TooLittleData,
        /// Newer statements are as well known as those that the model was judged by.
        NoDrift,
        /// Newer statements are predicted worse than those that the model was judged by, or are new to it.
        Drifted,
        /// No newer statements were seen.
        DriftUnknown,
        /// A part of the specification can't be used as it stands.
        InvalidSpecification,
        /// The model store can't be used.
        ModelStoreUnavailable,
        /// Trainings are suspended.
        Suspended,
        /// The model is being deleted.
        Deleting,
        /// A step could not be carried out and is tried again.
        StepFailed,
    }
}
