//! `howdah probe URL`: what `curl --fail` would do, for the chart's test in an image without curl.

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks an operator's HTTP endpoint and succeeds when it answers 200.
#[derive(Debug, Args)]
pub struct Probe {
    /// Where, e.g. `http://howdah.howdah-system:8080/readyz`.
    url: String,
    /// Text that the answer must contain.
    #[arg(long)]
    contains: Option<String>,
}

/// Asks once.
///
/// # Errors
/// When there is no answer within ten seconds, another status than 200, or the text is missing.
pub async fn run(probe: Probe) -> Result<()> {
    let body = get(&probe.url).await?;
    if let Some(wanted) = probe.contains
        && !body.contains(&wanted)
    {
        bail!("the answer of {} does not contain {wanted:?}", probe.url);
    }
    println!("{} answered as it should", probe.url);
    Ok(())
}

/// The body that an endpoint answers with status 200.
///
/// # Errors
/// When there is no answer within ten seconds, or another status.
pub(super) async fn get(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").context("only http:// URLs can be probed")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        stream
            .write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(std::time::Duration::from_secs(10), exchange)
        .await
        .with_context(|| format!("{url} did not answer within 10 s"))?
        .with_context(|| format!("{url} can't be reached"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("{url} answered {status}: {body}");
    }
    Ok(body.to_owned())
}
