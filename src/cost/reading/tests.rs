use std::io::Write;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use proptest::prelude::*;

use super::sampling::Sampling;
use super::*;
use crate::cost::log::Cost;
use crate::postgres::setting::{Setting, Settings};

/// What a reader makes of bytes.
fn read(
    bytes: &[u8],
    with: impl FnOnce(&[u8], &mut Collector<'_>) -> Result<(), crate::cost::log::LogError>,
) -> Result<(Vec<Statement>, Reading), String> {
    let (mut statements, mut reading) = (Vec::new(), Reading::default());
    let mut each = |statement| statements.push(statement);
    let mut into = Collector { file: "log".into(), each: &mut each, reading: &mut reading };
    with(bytes, &mut into).map_err(|error| error.to_string())?;
    Ok((statements, reading))
}

fn columns() -> Columns {
    Columns {
        query: "query".into(),
        time: Some("at".into()),
        targets: vec!["cpu".into()],
        failed: Some("state".into()),
        ..Columns::default()
    }
}

fn table(bytes: &[u8]) -> Result<(Vec<Statement>, Reading), String> {
    read(bytes, |bytes, into| csv::read(bytes, &columns(), into))
}

fn lines(bytes: &[u8]) -> Result<(Vec<Statement>, Reading), String> {
    read(bytes, |bytes, into| json::read(bytes, &columns(), into))
}

fn server(bytes: &[u8], json: bool) -> Result<(Vec<Statement>, Reading), String> {
    let targets: Vec<String> = postgres::TARGETS.map(str::to_owned).to_vec();
    read(bytes, |bytes, into| match json {
        true => postgres::read_json(bytes, &targets, Sampling::default(), into),
        false => postgres::read_csv(bytes, &targets, Sampling::default(), into),
    })
}

#[test]
fn a_table_loses_only_the_rows_that_are_wrong() {
    let text = "at;query;cpu;state\n2026-01-31 12:00:00;select 1;0.5;FINISHED\n\
                2026-01-31 12:00:01;\"select ';\n' from t\";3;FAILED\n2026-01-31 12:00:02;select 2;-1;\n\
                2026-01-31 12:00:03;select 3;NaN;\n2026-01-31 12:00:04;select 4;fast;\nyesterday;select 5;1;\n\
                2026-01-31 12:00:06;;1;\n2026-01-31 12:00:07;select 7;1\n2026-01-31 12:00:08;select 8;;\n";
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend_from_slice(b"2026-01-31 12:00:09;select '\xff\xfe';1;\n");
    let (statements, reading) = table(&bytes).unwrap();
    let told: Vec<(&str, Cost)> =
        statements.iter().map(|statement| (statement.query.as_str(), statement.costs[0])).collect();
    assert_eq!(
        told,
        [("select 1", Cost::Measured(0.5)), ("select ';\n' from t", Cost::AtLeast(3.0)), ("select 8", Cost::Unknown)]
    );
    for rejection in [
        Rejection::Negative,
        Rejection::NotFinite,
        Rejection::NotNumeric,
        Rejection::NoTime,
        Rejection::NoQuery,
        Rejection::Malformed,
        Rejection::NotUtf8,
    ] {
        assert_eq!(reading.rejected.get(&rejection), Some(&1), "{rejection}: {reading:?}");
    }
    assert_eq!(reading.samples.len(), 5);
    assert!(reading.samples[0].starts_with("log:4: rows have a negative cost: "), "{:?}", reading.samples[0]);
}

#[test]
fn our_own_sessions_are_nobody_s_queries() {
    let line = |application: &str| {
        format!(
            "{{\"timestamp\": \"2026-01-31 12:00:00.000 UTC\", \"session_id\": \"{application}\", \"application_name\": \
             \"{application}\", \"message\": \"duration: 2.5 ms  statement: select '{application}'\"}}\n"
        )
    };
    let text = ["howdah", "psql", "howdah-benchmark", "howdahs", ""].map(line).concat();
    let (statements, reading) = server(text.as_bytes(), true).unwrap();
    let queries: Vec<&str> = statements.iter().map(|statement| statement.query.as_str()).collect();
    assert_eq!(queries, ["select 'psql'", "select 'howdahs'", "select ''"]);
    assert_eq!(reading.statements, 3);

    let record = |application: &str| {
        format!(
            "2026-01-31 12:00:00.000 UTC,,,1,,{application},1,,,,0,LOG,00000,\"duration: 2.5 ms  statement: select \
             '{application}'\",,,,,,,,,{application},\"client backend\"\n"
        )
    };
    let (statements, _) = server(["howdah", "psql"].map(record).concat().as_bytes(), false).unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0].query, "select 'psql'");
}

#[test]
fn memory_is_what_it_did_not_hold() {
    let log = b"{\"session_id\":\"1\",\"message\":\"temporary file: path \\\"base/1\\\", size 8192\"}\n\
                {\"timestamp\":\"2026-11-22 10:00:00.000 UTC\",\"session_id\":\"1\",\
                \"message\":\"duration: 2.5 ms  statement: select 1\"}\n";
    let targets = ["memory".to_owned(), "spill".to_owned()];
    let (statements, _) =
        read(log, |bytes, into| postgres::read_json(bytes, &targets, Sampling::default(), into)).unwrap();
    assert_eq!(statements[0].costs, [Cost::Measured(8192.0); 2]);
}

#[test]
fn an_offset_behind_a_time_is_heeded() {
    let utc = time_ms("2026-07-01 12:00:00 UTC").unwrap();
    assert_eq!(time_ms("2026-07-01 12:00:00.000"), Some(utc));
    for (text, hours) in [
        ("2026-07-01 12:00:00 +0200", -2),
        ("2026-07-01 12:00:00.000 -03", 3),
        ("2026-07-01 12:00:00.000 CEST", -2),
        ("2026-07-01 12:00:00 EDT", 4),
        ("2026-07-01 12:00:00 ZZT", 0),
    ] {
        assert_eq!(time_ms(text), Some(utc + hours * 3_600_000), "{text}");
    }
}

#[test]
fn a_sampled_statement_stands_for_those_that_are_not_logged() {
    let of = |values: [&str; 4]| {
        let names = [
            "log_min_duration_statement",
            "log_min_duration_sample",
            "log_statement_sample_rate",
            "log_transaction_sample_rate",
        ];
        let setting =
            |(name, value): (&str, &str)| (name.to_owned(), Setting { value: value.to_owned(), ..Setting::default() });
        Sampling::of(&names.into_iter().zip(values).map(setting).collect::<Settings>())
    };
    let weights = |sampling: Sampling| [0.05, 0.5, 2.0].map(|seconds| sampling.weight_of(Cost::Measured(seconds)));
    assert_eq!(weights(of(["-1", "-1", "1", "0"])), [1.0; 3]);
    assert_eq!(weights(of(["-1", "100", "0", "0"])), [1.0; 3]);
    assert_eq!(weights(of(["0", "0", "0.01", "0"])), [1.0; 3]);
    assert!(of(["0", "0", "0.01", "0.5"]).is_whole() && !of(["-1", "0", "0.01", "0"]).is_whole());
    assert_eq!(weights(of(["-1", "-1", "0.01", "0.25"])), [4.0; 3]);
    assert_eq!(weights(of(["-1", "100", "0.5", "0.5"])), [2.0, (1.0 / 0.75) as f32, (1.0 / 0.75) as f32]);
    // All that take long, and of the others one of a hundred.
    assert_eq!(weights(of(["-1", "1000", "1", "0.01"])), [100.0, 100.0, 1.0]);
    assert_eq!(Sampling::of_share(0.1).weight_of(Cost::AtLeast(1.0)), 1.0);
    let some = of(["1000", "0", "0.1", "0"]);
    assert_eq!(weights(some), [10.0, 10.0, 1.0]);
    let log = b"{\"timestamp\":\"2026-11-22 10:00:00.000 UTC\",\"session_id\":\"1\",\
                \"message\":\"duration: 2.5 ms  statement: select 1\"}\n\
                {\"timestamp\":\"2026-11-22 10:00:02.000 UTC\",\"session_id\":\"1\",\
                \"message\":\"duration: 1500.0 ms  statement: select 2\"}\n";
    let targets = ["duration".to_owned()];
    let (statements, _) = read(log, |bytes, into| postgres::read_json(bytes, &targets, some, into)).unwrap();
    assert_eq!(statements.iter().map(|statement| statement.weight).collect::<Vec<_>>(), [10.0, 1.0]);
}

#[test]
fn what_is_missing_is_named_with_what_is_there() {
    let error = table(b"at,query,seconds,state\n2026-01-31,select 1,0.5,\n").unwrap_err();
    assert_eq!(error, "log has no column \"cpu\": it has at, query, seconds, state; numbers are in seconds");
    let error = lines(b"{\"query\": \"select 1\", \"at\": 1769860800, \"stats\": {\"cpu\": 1}, \"state\": \"\"}\n")
        .unwrap_err();
    assert!(error.contains("no column \"cpu\"") && error.contains("stats.cpu"), "{error}");
    let error = table(b"").unwrap_err();
    assert!(error.contains("is empty"), "{error}");
    let targets = ["io".to_owned()];
    let error = read(b"", |bytes, into| postgres::read_json(bytes, &targets, Sampling::default(), into)).unwrap_err();
    assert!(error.contains("duration, cpu, spill"), "{error}");
}

#[test]
fn a_file_that_is_cut_off_is_an_error() {
    let whole = format!("at,query,cpu,state\n{}", "2026-01-31,select 1 from a_table where b = 12,0.5,\n".repeat(500));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(whole.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let unpack =
        |bytes: &[u8]| read(bytes, |bytes, into| csv::read(flate2::read::MultiGzDecoder::new(bytes), &columns(), into));
    assert_eq!(unpack(&packed).unwrap().1.statements, 500);
    let error = unpack(&packed[..packed.len() - 20]).unwrap_err();
    assert!(error.contains("cut off"), "{error}");
}

#[test]
fn long_statements_are_read_up_to_a_limit() {
    let row = |length: usize| format!("at,query,cpu,state\n2026-01-31,\"select '{}'\",1,\n", "é".repeat(length / 2));
    let (statements, _) = table(row(1 << 20).as_bytes()).unwrap();
    assert!(statements[0].query.len() > 1 << 20);
    let (statements, reading) = table(row(10 << 20).as_bytes()).unwrap();
    assert!(statements.is_empty());
    assert_eq!(reading.rejected.get(&Rejection::TooLong), Some(&1));
    let line = format!(
        "{{\"query\": \"select '{}'\", \"at\": 1769860800, \"cpu\": 1, \"state\": null}}\n",
        "x".repeat(20 << 20)
    );
    let next = "{\"query\": \"select 1\", \"at\": 1769860800, \"cpu\": 1, \"state\": null}";
    let (statements, reading) = lines((line + next).as_bytes()).unwrap();
    assert_eq!((statements.len(), reading.rejected.get(&Rejection::TooLong)), (1, Some(&1)));
}

#[test]
fn a_quote_that_nobody_closes_costs_the_rows_up_to_a_limit() {
    let row = |at: usize| format!("2026-01-31,select {at} from a_table_with_a_long_name where b = 12,1,\n");
    let rows: String = (0..400_000).map(row).collect();
    let text = format!("at,query,cpu,state\n{}2026-01-31,\"select,1,\n{rows}", row(0));
    let (statements, reading) = table(text.as_bytes()).unwrap();
    assert_eq!((statements[0].query.len(), reading.rejected.get(&Rejection::TooLong)), (51, Some(&1)));
    assert!((50_000..200_000).contains(&statements.len()), "{} statements", statements.len());
    assert_eq!(reading.rejected.values().sum::<u64>(), 1, "{:?}", reading.samples);

    let line = |text: &str| csvlog(&[("2026-01-31 12:00:01.000 UTC", "00000", text, "", "")]);
    let told = "duration: 1.0 ms  statement: select 1";
    let broken = String::from_utf8(line(told)).unwrap().replace("LOG,00000,", "LOG,00000,\"");
    let log = [broken.into_bytes(), line(told).repeat(300_000)].concat();
    let (statements, reading) = server(&log, false).unwrap();
    assert_eq!(reading.rejected.get(&Rejection::TooLong), Some(&1));
    assert!((10_000..299_000).contains(&statements.len()), "{} statements", statements.len());
}

#[test]
fn json_lines_find_nested_fields() {
    let columns = Columns {
        query: "event.query".into(),
        targets: vec!["event.stats.cpuTime".into()],
        weight: Some("count".into()),
        ..Columns::default()
    };
    let text = b"\xef\xbb\xbf{\"event\": {\"query\": \"select 1\", \"stats\": {\"cpuTime\": \"1.50s\"}}, \"count\": 1e300}\n\n[1]\n{\"event\": 3}\n{broken\n";
    let (statements, reading) = read(text, |bytes, into| json::read(bytes, &columns, into)).unwrap();
    assert_eq!((statements[0].costs[0], statements[0].weight), (Cost::Measured(1.5), HEAVIEST));
    assert_eq!(reading.rejected.get(&Rejection::Malformed), Some(&2));
    assert_eq!(reading.rejected.get(&Rejection::NoQuery), Some(&1));
}

fn parquet_file(columns: Vec<(&str, ArrayRef)>) -> ::bytes::Bytes {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

#[test]
fn parquet_is_read_by_its_types() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("select 1"), None, Some("select 3")]));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1000, 2000, 3000]));
    let states: ArrayRef = Arc::new(StringArray::from(vec!["FINISHED", "FAILED", "FAILED"]));
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3)]));
    let file = |cpu: ArrayRef| {
        parquet_file(vec![("query", texts.clone()), ("at", times.clone()), ("state", states.clone()), ("cpu", cpu)])
    };
    let take = |bytes: ::bytes::Bytes| read(&[], |_, into| parquet::read(bytes, &columns(), into));
    let (statements, reading) = take(file(whole)).unwrap();
    assert_eq!(statements.len(), 2);
    assert_eq!((statements[0].time_ms, statements[0].costs[0]), (Some(1000), Cost::Measured(1.0)));
    assert_eq!(statements[1].costs[0], Cost::AtLeast(3.0));
    assert_eq!(reading.rejected.get(&Rejection::NoQuery), Some(&1));
    let (statements, reading) = take(file(Arc::new(Float64Array::from(vec![1.0, 1.0, f64::NAN])))).unwrap();
    assert_eq!((statements.len(), reading.rejected.get(&Rejection::NotFinite)), (1, Some(&1)));
    let units = take(file(Arc::new(StringArray::from(vec![Some("1.50m"), None, Some("2kB")])))).unwrap().0;
    assert_eq!((units[0].costs[0], units[1].costs[0]), (Cost::Measured(90.0), Cost::AtLeast(2048.0)));
    let (statements, reading) = take(file(Arc::new(StringArray::from(vec![Some("fast"), Some(""), None])))).unwrap();
    assert_eq!((statements.len(), reading.rejected.get(&Rejection::NotNumeric)), (1, Some(&1)));
    let nested: ArrayRef = Arc::new(arrow_array::StructArray::from(vec![(
        Arc::new(arrow_schema::Field::new("user", arrow_schema::DataType::Utf8, true)),
        states.clone(),
    )]));
    let error = take(file(nested)).unwrap_err();
    assert!(error.contains("column \"cpu\" is Struct"), "{error}");
    let error =
        take(parquet_file(vec![("sql", texts.clone()), ("seconds", Arc::new(Float64Array::from(vec![1.0; 3])))]));
    let error = error.unwrap_err();
    assert!(error.contains("no column \"query\": it has sql, seconds") && error.contains("seconds"), "{error}");
    let error = take(::bytes::Bytes::from_static(b"PAR1 but no more")).unwrap_err();
    assert!(error.contains("can't be read as Parquet"), "{error}");
}

/// One session's lines of a csvlog, as PostgreSQL 15 writes them.
fn csvlog(lines: &[(&str, &str, &str, &str, &str)]) -> Vec<u8> {
    let mut writer = ::csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for (time, state, message, detail, statement) in lines {
        let mut fields = vec![""; 26];
        (fields[0], fields[5], fields[8], fields[11]) = (time, "s1", "2026-01-31 12:00:00 UTC", "LOG");
        (fields[12], fields[13], fields[14], fields[19]) = (state, message, detail, statement);
        writer.write_record(&fields).unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn what_a_server_tells_of_a_statement_is_put_together() {
    let usage = "! system usage stats:\n!\t0.250000 s user, 0.050000 s system, 0.310000 s elapsed\n";
    let bytes = csvlog(&[
        ("2026-01-31 12:00:01.000 UTC", "00000", "duration: 0.1 ms  parse <unnamed>: select $1", "", ""),
        ("2026-01-31 12:00:02.000 UTC", "00000", "temporary file: path \"base/pgsql_tmp/a\", size 4096", "", ""),
        ("2026-01-31 12:00:02.000 UTC", "00000", "temporary file: path \"base/pgsql_tmp/b\", size 1000", "", ""),
        (
            "2026-01-31 12:00:02.000 UTC",
            "00000",
            "duration: 310.5 ms  execute <unnamed>: select a from t where b = $1 order by 1",
            "parameters: $1 = 'x'",
            "",
        ),
        ("2026-01-31 12:00:02.001 UTC", "00000", "EXECUTE MESSAGE STATISTICS", usage, ""),
        ("2026-01-31 12:00:03.001 UTC", "00000", "duration: 0.2 ms  bind <unnamed>: select pg_sleep(60)", "", ""),
        (
            "2026-01-31 12:00:13.001 UTC",
            "57014",
            "canceling statement due to statement timeout",
            "",
            "select pg_sleep(60)",
        ),
        // The session is idle for hours, and the statement ends after a moment that nobody knows.
        ("2026-01-31 14:00:00.000 UTC", "57014", "canceling statement due to user request", "", "select pg_sleep(60)"),
        ("2026-01-31 14:00:00.100 UTC", "00000", "duration: 0.2 ms  bind <unnamed>: select f(1)", "", ""),
        ("2026-01-31 14:00:00.100 UTC", "P0001", "no", "", "select f(1)"),
        ("2026-01-31 14:00:00.900 UTC", "57014", "canceling statement due to user request", "", "select f(1)"),
        ("2026-01-31 14:00:01.000 UTC", "00000", "statement: select pg_sleep(70)", "", ""),
        ("2026-01-31 14:00:03.000 UTC", "57014", "canceling statement due to user request", "", "select pg_sleep(70)"),
        ("2026-01-31 15:00:13.000 UTC", "00000", "temporary file: path \"c\", size 77", "", "select from a quiet one"),
        ("2026-01-31 15:00:13.000 UTC", "00000", "duration: 1.0 ms  statement: select 2", "", ""),
        ("yesterday", "00000", "duration: 1.0 ms  statement: select 3", "", ""),
    ]);
    assert_eq!(Format::detect("x", &bytes), Format::PostgresCsvLog);
    let (statements, reading) = server(&bytes, false).unwrap();
    assert_eq!((reading.statements, reading.rejected.get(&Rejection::NoTime)), (6, Some(&1)));
    assert!(statements.iter().all(|statement| statement.time_ms.is_some()));
    assert_eq!(statements[0].query, "select a from t where b = 'x' order by 1");
    let Cost::Measured(cpu) = statements[0].costs[1] else { panic!("no processor time: {:?}", statements[0]) };
    assert!((cpu - 0.3).abs() < 1e-9);
    assert_eq!((statements[0].costs[0], statements[0].costs[2]), (Cost::Measured(0.3105), Cost::Measured(5096.0)));
    assert_eq!(statements[1].query, "select pg_sleep(60)");
    assert_eq!(statements[1].costs, [Cost::AtLeast(10.0), Cost::Unknown, Cost::AtLeast(0.0)]);
    assert_eq!(statements[2].costs, [Cost::Unknown, Cost::Unknown, Cost::AtLeast(0.0)]);
    assert_eq!(statements[3].costs, statements[2].costs);
    assert_eq!(statements[4].costs, [Cost::AtLeast(2.0), Cost::Unknown, Cost::AtLeast(0.0)]);
    assert_eq!(statements[5].costs, [Cost::Measured(0.001), Cost::Unknown, Cost::Measured(0.0)]);
}

/// auto_explain tells of statements that are too short for the log: their plans are no other statement's.
#[test]
fn a_plan_is_of_the_statement_that_ran_when_it_was_told() {
    let plan = |cost: u32| {
        format!("duration: 300.0 ms  plan:\nQuery Text: x\nSeq Scan on t  (cost=0.00..{cost}.00 rows=7 width=4)")
    };
    let (own, other, failed) = (plan(100), plan(200), plan(300));
    let bytes = csvlog(&[
        ("2026-01-31 12:00:01.300 UTC", "00000", &own, "", ""),
        ("2026-01-31 12:00:01.300 UTC", "00000", "duration: 300.5 ms  statement: select 1", "", ""),
        ("2026-01-31 12:00:02.000 UTC", "00000", &other, "", ""),
        ("2026-01-31 12:01:03.000 UTC", "00000", "duration: 60000.0 ms  statement: create index on t (a)", "", ""),
        ("2026-01-31 12:02:00.000 UTC", "00000", &failed, "", ""),
        ("2026-01-31 12:02:00.001 UTC", "22012", "division by zero", "", "select 1/0"),
        ("2026-01-31 12:02:00.002 UTC", "00000", "duration: 300.0 ms  statement: select 2", "", ""),
    ]);
    let (statements, _) = server(&bytes, false).unwrap();
    let plans: Vec<_> = statements.iter().map(|statement| statement.plan).collect();
    assert_eq!(plans, [Some((100.0, 7.0)), None, None]);
}

/// Sessions that nobody tells the end of are forgotten, and what they waited for is told.
#[test]
fn more_sessions_than_are_kept_lose_no_statement() {
    let line = |session: usize| {
        format!(
            "{{\"timestamp\": \"2026-01-31 12:00:00.000 UTC\", \"session_id\": \"{session}\", \"message\": \"duration: 2.5 ms  \
             statement: select {session}\"}}\n"
        )
    };
    let text: String = (0..25_000).map(line).collect();
    let (statements, reading) = server(text.as_bytes(), true).unwrap();
    assert_eq!((statements.len(), reading.statements), (25_000, 25_000));
}

/// The csvlog and the jsonlog of one run of a real server say the same, and the same as a reader of another kind found in
/// them. Only where the evaluation data lies beside the project.
#[test]
fn a_real_servers_logs_agree() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/query-cost/pg15-own-log");
    if !folder.is_dir() {
        eprintln!("not run: {} is not there", folder.display());
        return;
    }
    let unpacked = |name: &str| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(folder.join(name)).unwrap();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(file), &mut bytes).unwrap();
        bytes
    };
    let (by_csv, _) = server(&unpacked("postgresql.csv.gz"), false).unwrap();
    let (by_json, _) = server(&unpacked("postgresql.json.gz"), true).unwrap();
    assert_eq!(by_csv.len(), by_json.len());
    for (one, other) in by_csv.iter().zip(&by_json) {
        assert_eq!((&one.query, one.time_ms, &one.costs), (&other.query, other.time_ms, &other.costs));
    }
    let parsed = Columns {
        query: "query".into(),
        time: Some("log_time".into()),
        targets: vec!["duration_ms".into(), "cpu_user_ms".into(), "cpu_sys_ms".into(), "temp_bytes".into()],
        ..Columns::default()
    };
    let (parsed, _) = read(&unpacked("pg15_log.csv.gz"), |bytes, into| csv::read(bytes, &parsed, into)).unwrap();
    assert!(parsed.len() >= 7900, "{}", parsed.len());
    let number = |cost: Cost| match cost {
        Cost::Measured(cost) => cost,
        Cost::AtLeast(_) | Cost::Unknown => f64::NAN,
    };
    // Statements of one millisecond are in another order there.
    let key = |statement: &Statement, seconds: f64| {
        let query = statement.query.split_whitespace().collect::<Vec<_>>().join(" ");
        (statement.time_ms, query, (seconds * 1e6).round() as i64)
    };
    let own: std::collections::HashMap<_, _> = by_csv.iter().map(|own| (key(own, number(own.costs[0])), own)).collect();
    for expected in &parsed {
        let [duration, user, system, spill] = [0, 1, 2, 3].map(|at| number(expected.costs[at]));
        let found = own.get(&key(expected, duration / 1e3)).unwrap_or_else(|| panic!("not found: {expected:?}"));
        let cpu = (user + system) / 1e3;
        assert!((number(found.costs[1]) - cpu).abs() < 1e-6 || cpu.is_nan(), "{found:?} {expected:?}");
        assert!((number(found.costs[2]) - spill).abs() < 0.5, "{found:?} {expected:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = (table(&bytes), lines(&bytes), server(&bytes, true), server(&bytes, false));
        let _ = read(&[], |_, into| parquet::read(::bytes::Bytes::from(bytes.clone()), &columns(), into));
        Format::detect("log", &bytes);
    }

    #[test]
    fn no_messages_make_a_reader_panic(message in "\\PC{0,60}", detail in "(parameters: )?\\PC{0,60}") {
        for prefix in ["duration: 1 ms  statement: ", "duration: 1 ms  execute a: ", "duration: 1 ms  plan:", "temporary file: ", ""] {
            let bytes = csvlog(&[("2026-01-31 12:00:01.000 UTC", "00000", &format!("{prefix}{message}"), &detail, "")]);
            server(&bytes, false).unwrap();
        }
    }
}
