//! Why a detector sees, knows and says what it does.

crate::reasons! {
    /// Reasons of an AnomalyDetector.
    pub enum Reason {
        /// Rows are scored and normal.
        Normal,
        /// Rows depart from what was learnt.
        AnomalyDetected,
        /// The anomaly is over.
        AnomalyResolved,
        /// If it is the new normal, say so by howdah.dev/cause (INCIDENT=normal) and change howdah.dev/retrain; else find its cause.
        BaselineShifted,
        /// A metric that never moved while the model learnt moves, which no score tells of.
        ConstantMoved,
        /// Rows are scored as they come.
        Scoring,
        /// There is no model yet, so nothing is scored.
        NotTrained,
        /// A model learns what is normal.
        Training,
        /// The model is trained and in use.
        Trained,
        /// The retrained model is in use.
        ModelPromoted,
        /// The retrained model would have alarmed more often than the budget allows; the one before goes on.
        ModelRejected,
        /// The training made no model and is tried again.
        TrainingFailed,
        /// The training's pod can't start.
        TrainingPending,
        /// The training's Job is gone, and with it its result.
        TrainingLost,
        /// Training needs the operator's own pod as the pattern of its Job, and it can't be read.
        TrainerUnknown,
        /// The history is shorter than training.minHistory.
        TooLittleHistory,
        /// No feature changed in the whole history, so there is nothing to learn from.
        ConstantHistory,
        /// Prometheus answers, and the features have recent values.
        DataAvailable,
        /// Prometheus does not answer.
        PrometheusUnreachable,
        /// Prometheus does not accept the credentials.
        PrometheusUnauthorized,
        /// Prometheus rejects a query.
        QueryRejected,
        /// Prometheus knows none of the features under this selector.
        NoSeries,
        /// A feature has several series at once: its query must aggregate, or the selector must be narrower.
        DuplicateSeries,
        /// Prometheus answered with something that can't be read.
        AnswerUnreadable,
        /// Rows that came while nobody looked are read, a part with each look.
        CatchingUp,
        /// The newest rows lack too many features to be scored.
        DataIncomplete,
        /// The Secret that the specification names, or one of its keys, is missing or can't be used.
        SecretMissing,
        /// A part of the specification can't be used as it stands.
        InvalidSpecification,
        /// The model in the store was made for other features, by another version, or is damaged: a new one is trained.
        ModelUnusable,
        /// The model store can't be used.
        ModelStoreUnavailable,
        /// A receiver of alarms did not take one, and is told again.
        NotDelivered,
        /// The detector is suspended.
        Suspended,
        /// The detector is being deleted.
        Deleting,
        /// A step could not be carried out and is tried again.
        StepFailed,
    }
}
