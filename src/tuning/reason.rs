//! Why a tuning, or a trial, is where it is.

crate::reasons! {
    /// Reasons of a PostgresTuning and its trials.
    pub enum Reason {
        /// The PostgresInstance that instanceRef names does not exist: create it, or delete this tuning.
        InstanceMissing,
        /// The PostgresInstance is not ready, and nothing is changed until it is.
        InstanceNotReady,
        /// Another tuning works on the same instance, and this one waits until it has ended.
        InstanceBusy,
        /// The selection of knobs can't be searched as it stands.
        InvalidKnobs,
        /// A part of the specification can't be used as it stands.
        InvalidSpecification,
        /// The instance's facts are frozen before the first change.
        Preflight,
        /// Trials are running.
        Searching,
        /// The best configurations run against the baseline in interleaved pairs.
        Verifying,
        /// A configuration is being brought into effect.
        Applying,
        /// The server restarts to apply a configuration.
        Restarting,
        /// The baseline is being restored.
        Restoring,
        /// The tuning is suspended, and nothing that its session changed is in effect.
        Suspended,
        /// A configuration was verified to be better and can be read in status.recommendation; the baseline is in effect.
        RecommendationReady,
        /// A configuration was verified to be better and waits for the annotation howdah.dev/approve with its hash.
        AwaitingApproval,
        /// The verified recommendation is in effect.
        Applied,
        /// The recommendation is not in effect.
        NotApplied,
        /// No configuration was verified to be better: the current one is as good.
        NoSignificantGain,
        /// A configuration was verified to be better than the baseline.
        Verified,
        /// The search has not been verified yet.
        NotVerified,
        /// Too many trials failed in a row; the baseline is in effect.
        TooManyFailures,
        /// Nothing stands in the way.
        Progressing,
        /// The tuning has ended.
        Completed,
        /// The tuning is not suspended.
        Active,
        /// The tuning is being deleted.
        Deleting,
        /// The model store can't be used, and no trial begins until it can.
        ModelStoreUnavailable,
        /// The optimizer could not propose a configuration.
        OptimizerFailed,
        /// A value does not take effect because ALTER SYSTEM or the command line overrides it.
        Shadowed,
        /// Another field manager owns our configuration key.
        FieldConflict,
        /// The configuration could not be written.
        ConfigurationNotWritten,
        /// The server did not show the configuration in time.
        ConfigurationNotInEffect,
        /// The benchmark's pod can't start.
        BenchmarkPending,
        /// The benchmark ended without a measurement.
        BenchmarkFailed,
        /// The benchmark's Job is gone, and with it its result.
        BenchmarkLost,
        /// The server restarted during a trial.
        PostgresRestarted,
        /// The server's container was killed for using too much memory.
        OutOfMemory,
        /// The server used more memory than the guardrail allows.
        MemoryGuardrail,
        /// The server did not answer, or was not ready, during a trial.
        AvailabilityGuardrail,
        /// The latency exceeded the guardrail's multiple of the baseline's.
        LatencyGuardrail,
        /// An AnomalyDetector saw the server become unwell during a trial.
        AnomalyGuardrail,
        /// The server did not come back in time after a restart.
        RestartTimedOut,
        /// The trial was interrupted by a suspension or a deletion.
        Interrupted,
        /// A step could not be carried out and is tried again.
        StepFailed,
    }
}
