//! kubectl, as a person uses it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs kubectl and returns what it printed, without the last line break.
pub async fn kubectl(arguments: &[&str]) -> String {
    kubectl_with(arguments, "").await.unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
}

/// Runs kubectl with a text on its standard input.
///
/// # Errors
/// What it printed on standard error, when it failed.
pub async fn kubectl_with(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is on PATH: `make e2e` puts it there");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).await.map_err(|error| error.to_string())?;
    let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
