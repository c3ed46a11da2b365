//! Why a server can't be reached or does not answer a query: facts that a decision can match on.

use serde::{Deserialize, Serialize};

/// Why no connection could be made. Each variant's sentence says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ConnectError {
    /// SQLSTATE 28P01 or 28000: the password or `pg_hba.conf` rejects the role.
    #[error("the server rejected the role: {0}; correct the user and password in the URI, or the server's pg_hba.conf")]
    WrongPassword(String),
    /// The host's name can't be resolved.
    #[error("the host {host:?} can't be resolved: {message}; correct the host in the URI")]
    UnknownHost {
        /// Host of the URI.
        host: String,
        /// The resolver's message.
        message: String,
    },
    /// Nothing listens at the address.
    #[error("nothing listens at {address}: {message}; check the host and port in the URI and that the server runs")]
    Refused {
        /// Host and port, or the socket's path.
        address: String,
        /// The operating system's message.
        message: String,
    },
    /// The server did not answer in time.
    #[error("{address} did not answer within {seconds} s; check the server's load and the network policies on the way")]
    Timeout {
        /// Host and port, or the socket's path.
        address: String,
        /// The deadline that passed.
        seconds: u64,
    },
    /// SQLSTATE 3D000.
    #[error("{0}; correct the database in the URI or create it")]
    NoSuchDatabase(String),
    /// The connection can't be encrypted or the server's certificate is not trusted.
    #[error(
        "TLS with the server failed: {0}; check sslmode in the URI, the CA certificate and the server's certificate"
    )]
    Tls(String),
    /// SQLSTATE 57P03: starting up, shutting down or recovering.
    #[error("the server does not accept connections yet: {0}; this passes by itself")]
    StartingUp(String),
    /// SQLSTATE 53300.
    #[error("the server has no connection left: {0}; raise max_connections or close idle connections")]
    TooManyConnections(String),
    /// Anything else.
    #[error("connecting failed: {0}")]
    Other(String),
}

/// Why a query on an open connection failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum QueryError {
    /// SQLSTATE 42501: the role may not do it.
    #[error("{doing} is not allowed: {message}; grant the role what it lacks")]
    Denied {
        /// What was tried, as the subject of a sentence.
        doing: String,
        /// The server's message.
        message: String,
    },
    /// The connection ended.
    #[error("{doing} failed because the connection was lost: {message}")]
    Lost {
        /// What was tried, as the subject of a sentence.
        doing: String,
        /// The driver's or the server's message.
        message: String,
    },
    /// Anything else.
    #[error("{doing} failed: {message}")]
    Failed {
        /// What was tried, as the subject of a sentence.
        doing: String,
        /// The server's message.
        message: String,
    },
}
