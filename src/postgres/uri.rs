//! Connection URIs as libpq reads them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A libpq URI, e.g. `postgresql://user:password@host:5432/database?sslmode=verify-full`. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    /// Name or address of the host, or the directory of a Unix socket (it begins with `/`).
    pub host: String,
    /// Port, 5432 where the URI has none.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Option<String>,
    /// The database; the role's name where the URI has none.
    pub database: String,
    /// How the connection is encrypted and verified.
    pub ssl_mode: SslMode,
    /// Command-line options for the server's session (`-c geqo=off`).
    pub options: Option<String>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// As libpq's `allow`. The server decides, so it is treated as `Prefer`.
    Allow,
    /// Encrypted where the server can, without verification.
    #[default]
    Prefer,
    /// Encrypted, without verification.
    Require,
    /// Encrypted, and the certificate is signed by the CA.
    VerifyCa,
    /// As `VerifyCa`, and the certificate is for the host.
    VerifyFull,
}

impl SslMode {
    const ALL: [Self; 6] = [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// libpq's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// The server's certificate must be signed by a given CA.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

/// What is wrong with a URI. No variant carries the password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UriError {
    /// It does not begin with `postgresql://` or `postgres://`.
    #[error("a connection URI begins with postgresql:// or postgres://")]
    Scheme,
    /// Several hosts.
    #[error("the connection URI names several hosts; name the one server that is meant")]
    SeveralHosts,
    /// No host.
    #[error("the connection URI names no host")]
    NoHost,
    /// No user.
    #[error("the connection URI names no user")]
    NoUser,
    /// A port that is none. Its text is not shown, because it may be a piece of the password.
    #[error("the port of the connection URI is not a number from 1 to 65535")]
    Port,
    /// An `@` behind the host: most likely the user or password holds a character that ends the authority, so that a piece
    /// of it would pass for the host or a parameter.
    #[error(
        "the connection URI holds an @ behind its host; write / as %2F, ? as %3F and @ as %40 in user, password, database \
         and parameters"
    )]
    Reserved,
    /// A `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the {0} of the connection URI is not percent-encoded UTF-8; write a % itself as %25")]
    Encoding(&'static str),
    /// A parameter that is not `name=value`. It is not shown, because it may be a piece of the parameter `password`.
    #[error("a parameter of the connection URI has no value; write name=value, and an & in a value as %26")]
    NoValue,
    /// An unknown sslmode.
    #[error("sslmode {0:?} is unknown; use disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode(String),
    /// An unknown parameter.
    #[error(
        "the parameter {0:?} of the connection URI is not supported; use host, port, user, password, dbname, sslmode, \
         sslrootcert, application_name, connect_timeout and options"
    )]
    UnknownParameter(String),
}

impl Uri {
    /// The same server and role, another database.
    pub fn with_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// The server is reached through a Unix socket in the directory [`Uri::host`].
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Host and port, or the socket's path, for messages.
    pub fn address(&self) -> String {
        if self.is_socket() {
            format!("{}/.s.PGSQL.{}", self.host, self.port)
        } else if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The environment variables that give libpq's programs the same connection, so that no command line shows the password.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGSSLMODE", self.ssl_mode.word().to_owned()),
        ];
        variables.extend(self.password.clone().map(|password| ("PGPASSWORD", password)));
        variables.extend(self.options.clone().map(|options| ("PGOPTIONS", options)));
        variables
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), UriError> {
        match name {
            "host" => self.host = value,
            "port" => self.port = port(&value)?,
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "options" => self.options = Some(value),
            "sslmode" => {
                let known = SslMode::ALL.into_iter().find(|mode| mode.word() == value);
                self.ssl_mode = known.ok_or(UriError::SslMode(value))?;
            }
            // The CA certificate, the application name and the deadline are given beside the URI.
            "sslrootcert" | "application_name" | "connect_timeout" => {}
            _ => return Err(UriError::UnknownParameter(name.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
        let (place, query) = split(rest.ok_or(UriError::Scheme)?, '?');
        let (authority, database) = split(place, '/');
        if database.contains('@') || query.contains('@') {
            return Err(UriError::Reserved);
        }
        let (credentials, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        if server.contains(',') {
            return Err(UriError::SeveralHosts);
        }
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(decode(password, "password")?)),
            None => (credentials, None),
        };
        let (host, port_text) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => (address, rest.strip_prefix(':').unwrap_or(rest)),
            None => split(server, ':'),
        };
        let mut uri = Self {
            host: decode(host, "host")?,
            port: if port_text.is_empty() { 5432 } else { port(port_text)? },
            user: decode(user, "user")?,
            password,
            database: decode(database, "database")?,
            ssl_mode: SslMode::default(),
            options: None,
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(UriError::NoValue)?;
            uri.set(&decode(name, "parameter name")?, decode(value, "parameter value")?)?;
        }
        if uri.host.is_empty() {
            return Err(UriError::NoHost);
        }
        if uri.host.contains(',') {
            return Err(UriError::SeveralHosts);
        }
        if uri.user.is_empty() {
            return Err(UriError::NoUser);
        }
        if uri.database.is_empty() {
            uri.database = uri.user.clone();
        }
        Ok(uri)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uri")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .field("options", &self.options)
            .finish()
    }
}

/// The parts before and after the first `separator`; the second is empty where there is none.
fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

fn port(text: &str) -> Result<u16, UriError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(UriError::Port),
        Ok(port) => Ok(port),
    }
}

fn decode(text: &str, part: &'static str) -> Result<String, UriError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(UriError::Encoding(part)),
        }
    }
    String::from_utf8(bytes).map_err(|_| UriError::Encoding(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_part_is_read() {
        let uri: Uri = "postgresql://us%40er:p%3Aw%25@db.example:5433/my%20db?sslmode=verify-full&sslrootcert=x&options=-c%20a%3Db"
            .parse()
            .unwrap();
        assert_eq!((uri.host.as_str(), uri.port, uri.user.as_str()), ("db.example", 5433, "us@er"));
        assert_eq!((uri.password.as_deref(), uri.database.as_str()), (Some("p:w%"), "my db"));
        assert_eq!((uri.ssl_mode, uri.options.as_deref()), (SslMode::VerifyFull, Some("-c a=b")));
    }

    #[test]
    fn defaults_are_libpqs() {
        let uri: Uri = "postgres://app@db".parse().unwrap();
        assert_eq!((uri.port, uri.database.as_str(), uri.ssl_mode), (5432, "app", SslMode::Prefer));
        let uri: Uri = "postgres://app@[::1]:6000/x".parse().unwrap();
        assert_eq!((uri.host.as_str(), uri.address()), ("::1", "[::1]:6000".to_owned()));
        let uri: Uri = "postgres://app@/x?host=/run/postgresql".parse().unwrap();
        assert!(uri.is_socket());
        assert_eq!(uri.address(), "/run/postgresql/.s.PGSQL.5432");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Uri>().unwrap_err();
        assert_eq!(error("mysql://a@b"), UriError::Scheme);
        assert_eq!(error("postgres://a@b,c/d"), UriError::SeveralHosts);
        assert_eq!(error("postgres://a@/d"), UriError::NoHost);
        assert_eq!(error("postgres://b/d"), UriError::NoUser);
        assert_eq!(error("postgres://a@b:port/d"), UriError::Port);
        assert_eq!(error("postgres://a:12/34@b/d"), UriError::Reserved);
        assert_eq!(error("postgres://a:12?x=34@b/d"), UriError::Reserved);
        // An @ before the / or ? makes the rest of the password pass for a host and a parameter.
        assert_eq!(error("postgres://u:p@ss/x@h"), UriError::Reserved);
        assert_eq!(error("postgres://u:p@w?secret@h/d"), UriError::Reserved);
        assert_eq!(error("postgres://a:50%@b/d"), UriError::Encoding("password"));
        assert_eq!(error("postgres://a@b/d?sslmode"), UriError::NoValue);
        assert_eq!(error("postgres://a@b/d?password=p&w"), UriError::NoValue);
        assert_eq!(error("postgres://a@b/d?sslmode=on"), UriError::SslMode("on".into()));
        assert_eq!(error("postgres://a@b/d?gssencmode=disable"), UriError::UnknownParameter("gssencmode".into()));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_password_is_shown(text in "(postgres://)?[a-z:@/?&=%,\\[\\]0-9]{0,40}", secret in "[a-z]{12}") {
            let _ = text.parse::<Uri>();
            let uri: Uri = format!("postgres://u:{secret}@h/d").parse().unwrap();
            let shown = format!("{uri:?}");
            prop_assert!(!shown.contains(&secret));
            prop_assert!(uri.environment().contains(&("PGPASSWORD", secret)));
        }
    }
}
