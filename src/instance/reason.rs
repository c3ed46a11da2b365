//! Why an instance is ready, or not.

use crate::reasons;

reasons! {
    /// Reasons of a PostgresInstance's conditions.
    pub enum Reason {
        /// The server is reachable, configurable and its resources are known.
        Ready,
        /// The Secret of spec.connection.secretRef does not exist.
        SecretMissing,
        /// The Secret has no such key.
        SecretKeyMissing,
        /// The connection URI can't be read.
        InvalidUri,
        /// The server rejected the role or its password.
        WrongPassword,
        /// No connection to the server could be made.
        Unreachable,
        /// The database of the URI does not exist.
        NoSuchDatabase,
        /// The connection can't be encrypted as the URI asks, or the server's certificate is not trusted.
        TlsFailed,
        /// The server does not accept connections yet.
        StartingUp,
        /// The server has no connection left.
        TooManyConnections,
        /// The server is a standby or still recovers; only a primary can be tuned.
        InRecovery,
        /// The server is older than PostgreSQL 13.
        UnsupportedVersion,
        /// The role lacks rights.
        MissingRights,
        /// A query failed on an open connection.
        QueryFailed,
        /// The workload of spec.workload does not exist.
        WorkloadMissing,
        /// The workload has no pod.
        PodMissing,
        /// The pod has no container of the name in spec.workload.container.
        ContainerMissing,
        /// The workload's pod is not ready.
        PodNotReady,
        /// The ConfigMap of spec.configuration.configMap does not exist.
        ConfigMapMissing,
        /// The ConfigMap is not mounted into the server's container, or not with this key.
        ConfigMapNotMounted,
        /// The ConfigMap is mounted by subPath, so the server would never see a change.
        ConfigMapMountedBySubPath,
        /// The server does not read the file of our configuration key.
        NotIncluded,
        /// Another field manager owns our configuration key.
        FieldConflict,
        /// Memory or CPU of the server are neither declared nor to be discovered.
        ResourcesUnknown,
        /// A quantity in spec.resources can't be read.
        InvalidResources,
        /// RBAC does not let Howdah do it.
        Forbidden,
        /// The API server did not answer, or refused.
        ApiServerFailed,
    }
}

impl Reason {
    /// It may pass by itself: nobody needs to change a declaration.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::StartingUp
                | Self::TooManyConnections
                | Self::QueryFailed
                | Self::PodMissing
                | Self::PodNotReady
                | Self::ApiServerFailed
        )
    }
}
