//! `howdah cost serve` as a process: how it starts, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{model, statements};

struct Served {
    child: Child,
    address: String,
    /// Removed with it.
    _directory: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn saved() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in model().save() {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

fn serve(directory: tempfile::TempDir) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_howdah"));
    command.args([
        "cost",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--drain-seconds",
        "1",
        "--log-format",
        "json",
        "--model",
    ]);
    let mut child = command.arg(directory.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().expect("it ended before it served").unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if let Some(address) = line["address"].as_str() {
            break address.to_owned();
        }
    };
    // What it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Served { child, address, _directory: directory }
}

#[tokio::test]
async fn it_ends_without_failing_a_request() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut served = serve(saved());
    let client = reqwest::Client::new();
    let query = statements(1).remove(0);
    let url = format!("http://{}", served.address);
    let ask = |client: reqwest::Client| {
        let request = client.post(format!("{url}/v1/cpu")).body(serde_json::json!({"query": query}).to_string());
        async move { request.send().await.map(|answer| answer.status().as_u16()) }
    };
    assert_eq!(ask(client.clone()).await.unwrap(), 200);
    terminate(&served.child);
    let (mut unready, mut answered) = (false, 0);
    let begin = Instant::now();
    // A caller that heeds readiness stops as soon as it is gone; until then every request is answered.
    while !unready {
        assert!(begin.elapsed() < Duration::from_secs(10), "it stayed ready");
        assert_eq!(ask(client.clone()).await.unwrap(), 200);
        answered += 1;
        unready = client.get(format!("{url}/readyz")).send().await.unwrap().status().as_u16() == 503;
    }
    // One that has not yet heard is answered all the same.
    assert_eq!(ask(client.clone()).await.unwrap(), 200);
    assert!(answered > 0);
    drop(client);
    let status = loop {
        if let Some(status) = served.child.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "it did not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(status.success(), "{status}");
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

fn refused(directory: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_howdah"));
    let output = command.args(["cost", "serve", "--listen", "127.0.0.1:0", "--model"]).arg(directory).args(arguments);
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_it_can_not_serve_it_says() {
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(empty.path(), &[]).contains("no file model.json"));
    let directory = saved();
    let path = directory.path().join("cpu.classes.json");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(refused(directory.path(), &[]).contains("cpu.classes.json is corrupted"));
    let directory = saved();
    assert!(refused(directory.path(), &["--route", "cpu=a,b"]).contains("cpu has 3 classes"));
}
