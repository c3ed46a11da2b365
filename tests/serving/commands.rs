//! `howdah cost train`, `predict`, `evaluate` and `check` as commands: from a table to an exit code.

use std::path::Path;
use std::process::{Command, Output};

use howdah::cost::log::{Cost, Log};
use howdah::cost::replay::Replay;
use serde_json::Value;

const ROWS: usize = 600;

fn howdah(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_howdah")).arg("cost").args(arguments).current_dir(directory).output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_table_becomes_a_model_that_predicts_is_judged_and_checks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut table = csv::Writer::from_path(path.join("log.csv")).unwrap();
    table.write_record(["at", "query", "seconds"]).unwrap();
    Replay::new(ROWS as u64, 0.5, 11)
        .read(&mut |statement| {
            let Cost::Measured(seconds) = statement.costs[0] else { panic!("a made-up cost is measured") };
            let at = statement.time_ms.unwrap().to_string();
            table.write_record([at, statement.query, seconds.to_string()]).unwrap();
        })
        .unwrap();
    table.flush().unwrap();

    let log = ["--input", "log.csv", "--query-column", "query", "--time-column", "at"];
    let small = "--one-split --folds 2 --max-depth 6 --eta 0.3 --rounds 20 --max-features 500";
    let files = "--output model --report report.json --html report.html";
    let mut train = vec!["train", "--target", "cpu=seconds:30,1800"];
    train.extend(log.into_iter().chain(small.split(' ')).chain(files.split(' ')));
    let text = said(&howdah(path, &train), 0);
    assert!(text.starts_with("600 statements of ") && text.contains("time       cpu          ours"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(path.join("report.json")).unwrap()).unwrap();
    let ours = &report["splits"][0]["targets"]["cpu"]["methods"]["ours"];
    assert!(ours["accuracy"].as_f64().unwrap() > 0.5 && ours["rows"] == 120, "{ours}");
    let page = std::fs::read_to_string(path.join("report.html")).unwrap();
    for part in ["<h2>cpu</h2>", "<td>time, ours", "<td>time, lookup", "<figcaption>True class", "1800"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }

    let mut evaluate = vec!["evaluate", "--model", "model", "--target", "cpu=seconds"];
    evaluate.extend(log);
    let figures: Value = serde_json::from_str(&said(&howdah(path, &evaluate), 0)).unwrap();
    assert!(
        figures["targets"]["cpu"]["rows"] == ROWS && figures["modelVersion"] == report["modelVersion"],
        "{figures}"
    );

    let text = said(&howdah(path, &["predict", "--model", "model", "--input", "log.csv"]), 0);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), ROWS);
    let of_class = |class: usize| {
        let line = lines.iter().find(|line| line["targets"][0]["class"] == class);
        line.and_then(|line| line["query"].as_str()).expect("there are some of each class")
    };
    let (light, heavy) = (of_class(0), of_class(2));
    let again = said(&howdah(path, &["predict", "--model", "model", "--query", heavy, "--tokens", "3"]), 0);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["query"], &again["targets"][0]["class"]), (&heavy.into(), &2.into()));

    std::fs::write(path.join("light.sql"), light).unwrap();
    std::fs::write(path.join("heavy.sql"), format!("{light};\n{heavy};\n")).unwrap();
    let text = said(&howdah(path, &["check", "--model", "model", "light.sql"]), 0);
    assert_eq!(text, "1 statements checked, 0 in the top class\n");
    let text = said(&howdah(path, &["check", "--model", "model", "light.sql", "heavy.sql"]), 3);
    assert!(text.contains("heavy.sql:2: cpu is in [1800, \u{221e})"), "{text}");
    assert!(text.ends_with("3 statements checked, 1 in the top class\n"), "{text}");
    let output = howdah(path, &["check", "--model", "model", "--target", "disk", "light.sql"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no target \"disk\": it has cpu"));
}
