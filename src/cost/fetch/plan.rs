//! Asks a PostgreSQL server for the plans of statements.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::cost::answer::Planner;
use crate::postgres::error::QueryError;
use crate::postgres::uri::Uri;
use crate::world::postgres::explain::{explain, only_plan};
use crate::world::postgres::{Client, connect};

/// A connection must be there within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// After a connection failed, none is tried for so long: answers come from the text meanwhile, without delay.
const AWAY: Duration = Duration::from_secs(10);

/// A server that plans statements, over one connection that is made when it is needed and made anew when it was lost.
pub struct Explain {
    uri: Uri,
    ca: Option<Vec<u8>>,
    within: Duration,
    session: Mutex<Session>,
}

enum Session {
    /// Never tried.
    New,
    Open(Client),
    /// Why, and since when.
    Away(String, Instant),
}

impl Explain {
    /// Plans at this server, each statement within that time. `ca` is a PEM bundle for `sslmode=verify-full`.
    pub fn new(uri: Uri, ca: Option<Vec<u8>>, within: Duration) -> Self {
        Self { uri, ca, within, session: Mutex::new(Session::New) }
    }

    async fn open(&self) -> Result<Client, String> {
        let client = connect(&self.uri, self.ca.as_deref(), CONNECT_WITHIN).await.map_err(|error| error.to_string())?;
        only_plan(&client, self.within).await.map_err(|error| error.to_string())?;
        Ok(client)
    }

    async fn ask(&self, query: &str) -> Result<(f32, f32), String> {
        // One statement after another: who would wait for long is answered by the text.
        let session = timeout(self.within, self.session.lock()).await;
        let mut session = session.map_err(|_| "the server is busy with other statements".to_owned())?;
        match &*session {
            Session::Away(why, since) if since.elapsed() < AWAY => return Err(why.clone()),
            Session::Open(client) if !client.is_closed() => {}
            _ => match self.open().await {
                Ok(client) => *session = Session::Open(client),
                Err(why) => {
                    tracing::warn!(error = why, "statements can't be planned: they are answered by their text");
                    *session = Session::Away(why.clone(), Instant::now());
                    return Err(why);
                }
            },
        }
        let Session::Open(client) = &*session else { return Err("there is no connection".into()) };
        // The server ends what takes longer; if it does not answer at all, the connection is of no more use.
        let answer = timeout(2 * self.within, explain(client, query)).await;
        match answer {
            Ok(Ok(plan)) => Ok(plan),
            Ok(Err(error)) => {
                if matches!(error, QueryError::Lost { .. }) {
                    *session = Session::New;
                }
                Err(error.to_string())
            }
            Err(_) => {
                let why = "the server does not answer".to_owned();
                *session = Session::Away(why.clone(), Instant::now());
                Err(why)
            }
        }
    }
}

impl Planner for Explain {
    fn plan<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<(f32, f32), String>> {
        Box::pin(self.ask(query))
    }
}
