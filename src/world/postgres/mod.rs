//! A connection to a PostgreSQL server, and what is asked of it.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
pub use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{Config, config};

use crate::postgres::APPLICATION;
use crate::postgres::error::{ConnectError, QueryError};
use crate::postgres::uri::{SslMode, Uri};

pub mod configuration;
pub mod container;
pub mod explain;
pub mod log_files;
pub mod rights;
pub mod server;
pub mod statements;
pub mod statistics;
mod tls;

/// A query that takes longer than this is cancelled by the server.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects within the deadline. `ca` is a PEM bundle, needed for `sslmode=verify-ca` and `verify-full`.
///
/// The connection ends with the client. Its queries are cancelled by the server after 30 s, and it is named `howdah`
/// in `pg_stat_activity`.
pub async fn connect(uri: &Uri, ca: Option<&[u8]>, deadline: Duration) -> Result<Client, ConnectError> {
    timeout(deadline, open(uri, ca))
        .await
        .unwrap_or_else(|_| Err(ConnectError::Timeout { address: uri.address(), seconds: deadline.as_secs() }))
}

async fn open(uri: &Uri, ca: Option<&[u8]>) -> Result<Client, ConnectError> {
    let client = if uri.is_socket() {
        let stream = UnixStream::connect(uri.address()).await.map_err(|error| refused(uri, &error))?;
        start(uri, stream, NoTls, config::SslMode::Disable).await?
    } else {
        let mode = match uri.ssl_mode {
            SslMode::Disable => config::SslMode::Disable,
            SslMode::Allow | SslMode::Prefer => config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
        };
        let mut connector = tls::connector(uri.ssl_mode, ca)?;
        let tls = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, &uri.host)
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        start(uri, tcp(uri).await?, tls, mode).await?
    };
    client.batch_execute(&statement_timeout()).await.map_err(|error| connect_error(&error))?;
    Ok(client)
}

/// The statement that bounds the session's queries.
fn statement_timeout() -> String {
    format!("SET statement_timeout = {}", STATEMENT_TIMEOUT.as_millis())
}

/// Connects to the first of the host's addresses that answers.
async fn tcp(uri: &Uri) -> Result<TcpStream, ConnectError> {
    let unknown = |message: String| ConnectError::UnknownHost { host: uri.host.clone(), message };
    let addresses = lookup_host((uri.host.as_str(), uri.port)).await.map_err(|error| unknown(error.to_string()))?;
    let mut outcome = Err(unknown("it has no address".into()));
    for address in addresses {
        outcome = TcpStream::connect(address).await.map_err(|error| refused(uri, &error));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn refused(uri: &Uri, error: &std::io::Error) -> ConnectError {
    ConnectError::Refused { address: uri.address(), message: error.to_string() }
}

async fn start<S, T>(uri: &Uri, stream: S, tls: T, mode: config::SslMode) -> Result<Client, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let mut config = Config::new();
    config.user(&uri.user).dbname(&uri.database).application_name(APPLICATION).ssl_mode(mode);
    if let Some(password) = &uri.password {
        config.password(password);
    }
    if let Some(options) = &uri.options {
        config.options(options);
    }
    let (client, connection) = config.connect_raw(stream, tls).await.map_err(|error| connect_error(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = &error as &dyn Error, "the connection to PostgreSQL ended");
        }
    });
    Ok(client)
}

fn connect_error(error: &tokio_postgres::Error) -> ConnectError {
    let message = describe(error);
    let Some(code) = error.code() else {
        return if chain(error).any(|cause| cause.starts_with("error performing TLS handshake")) {
            ConnectError::Tls(message)
        } else if chain(error).any(|cause| cause == "password missing") {
            ConnectError::WrongPassword("it asks for a password and the URI has none".into())
        } else {
            ConnectError::Other(message)
        };
    };
    match *code {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            ConnectError::WrongPassword(message)
        }
        SqlState::INVALID_CATALOG_NAME => ConnectError::NoSuchDatabase(message),
        SqlState::CANNOT_CONNECT_NOW => ConnectError::StartingUp(message),
        SqlState::TOO_MANY_CONNECTIONS => ConnectError::TooManyConnections(message),
        _ => ConnectError::Other(message),
    }
}

/// Turns a driver's error into ours. `doing` is the subject of the sentence: "reading pg_settings".
pub(crate) fn query_error(doing: impl Into<String>, error: &tokio_postgres::Error) -> QueryError {
    let (doing, message) = (doing.into(), describe(error));
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => QueryError::Denied { doing, message },
        // Class 57P: the server ends the session because it shuts down or crashed.
        Some(code) if code.code().starts_with("57P") => QueryError::Lost { doing, message },
        Some(_) => QueryError::Failed { doing, message },
        None if error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()) => {
            QueryError::Lost { doing, message }
        }
        None => QueryError::Failed { doing, message },
    }
}

/// The server's own message, or the driver's with its causes.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => match server.hint() {
            Some(hint) => format!("{} ({hint})", server.message()),
            None => server.message().to_owned(),
        },
        None => chain(error).collect::<Vec<_>>().join(": "),
    }
}

fn chain(error: &(dyn Error + 'static)) -> impl Iterator<Item = String> {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string)
}
