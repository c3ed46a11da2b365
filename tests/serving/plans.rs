//! The third tier: a real server's plans, where the text is in doubt.

#[path = "../server/mod.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use howdah::cost::answer::{Planner, Source};
use howdah::cost::classes::{TargetSpec, parse_bounds};
use howdah::cost::fetch::Explain;
use howdah::cost::log::{Cost, Log, LogError, Reading, Statement};
use howdah::cost::model::CostModel;
use howdah::cost::train::train;
use howdah::serve::cost::{Ask, Limits, Serving, rest};
use server::{PASSWORD, Server};
use tower::ServiceExt;

const WITHIN: Duration = Duration::from_millis(500);

/// Statements whose text says nothing of their cost: only their plans do.
struct Unreadable {
    targets: Vec<String>,
}

impl Log for Unreadable {
    fn targets(&self) -> &[String] {
        &self.targets
    }

    fn read(&self, each: &mut dyn FnMut(Statement)) -> Result<Reading, LogError> {
        let rows = 600;
        for row in 0..rows {
            let heavy = (row * 7919) % 13 < 6;
            let table = if row % 2 == 0 { "orders" } else { "customers" };
            // A fingerprint of its own each, so that history has nothing to say.
            let query = format!("SELECT count(*) FROM {table} WHERE note = 'x' AND c{row} > 1");
            let (cost, seconds) = if heavy { (300.0, 10.0) } else { (2.0, 0.01) };
            let wobble = 1.0 + (row % 10) as f32 * 2.0;
            each(Statement {
                query,
                time_ms: Some(i64::from(row) * 1000),
                costs: vec![Cost::Measured(seconds)],
                weight: 1.0,
                truncated: false,
                // A count is one row.
                plan: Some((cost * wobble, 1.0)),
            });
        }
        Ok(Reading { statements: rows as u64, ..Reading::default() })
    }
}

fn model() -> CostModel {
    let bounds = parse_bounds("duration", ["1"]).unwrap();
    let specs = [TargetSpec { name: "duration".into(), unit: "seconds".into(), bounds }];
    train(&Unreadable { targets: vec!["duration".into()] }, &specs, &crate::quick(), &mut |_| {}).unwrap().model
}

fn ask(queries: &[&str]) -> Ask {
    Ask { queries: queries.iter().map(|query| (*query).to_owned()).collect(), ..Ask::default() }
}

#[tokio::test]
async fn a_plan_decides_where_the_text_is_in_doubt_and_nothing_is_run() {
    let server = Server::start("");
    let superuser = server.superuser().await;
    superuser
        .batch_execute(&format!(
            "CREATE TABLE orders AS SELECT g AS id, repeat('x', 80) AS note FROM generate_series(1, 100000) g;
             CREATE TABLE customers AS SELECT 1 AS id, 'x'::text AS note;
             CREATE TABLE hidden AS SELECT 1 AS id;
             ANALYZE;
             CREATE ROLE reader LOGIN PASSWORD '{}';
             GRANT SELECT ON orders, customers TO reader",
            PASSWORD.replace('\'', "''")
        ))
        .await
        .unwrap();
    let planner = || Arc::new(Explain::new(server.uri("reader", "postgres"), None, WITHIN));
    let model = Arc::new(model());
    let plain = Arc::new(Serving::new(model.clone(), None, None, Limits::default()));
    let planned = Arc::new(Serving::new(model.clone(), None, None, Limits::default()).with_planner(planner()));
    let (large, small) =
        ("SELECT count(*) FROM orders WHERE note = 'x'", "SELECT count(*) FROM customers WHERE note = 'x'");

    let answers = plain.answer(ask(&[large, small])).await.unwrap();
    assert!(answers.iter().all(|answer| answer.targets[0].source == Source::Text), "{answers:?}");
    let answers = planned.answer(ask(&[large, small])).await.unwrap();
    let told: Vec<_> = answers.iter().map(|answer| (answer.targets[0].source, answer.targets[0].class)).collect();
    assert_eq!(told, [(Source::Plan, 1), (Source::Plan, 0)], "{answers:?}");

    // What is not planned is answered by its text, and nothing of it is run.
    let refused = [
        "DROP TABLE customers",
        "SELECT count(*) FROM orders; DROP TABLE customers",
        "ANALYZE SELECT count(*) FROM orders",
        "SELECT count(*) FROM hidden",
        "SELECT count(*) FROM orders WHERE note = $1",
        "SELECT count(*) FROM orders WHERE",
        "DELETE FROM orders",
    ];
    let asker = planner();
    for query in refused {
        let why = asker.plan(query).await.unwrap_err();
        assert!(why.starts_with("EXPLAIN"), "{query}: {why}");
    }
    let answers = planned.answer(ask(&refused)).await.unwrap();
    assert!(answers.iter().all(|answer| answer.targets[0].source != Source::Plan), "{answers:?}");
    let left = superuser.query_one("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM customers)", &[]).await;
    let left = left.unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1)), (100_000, 1));
    // The session goes on after refusals.
    assert!(asker.plan(large).await.unwrap().0 > 1000.0);

    // What was asked for is counted.
    let request = axum::http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
    let response = rest::routes(planned.clone()).oneshot(request).await.unwrap();
    let text = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains("howdah_cost_plans_total{result=\"planned\"} 2\n"), "{text}");
    let failed = text.lines().find_map(|line| line.strip_prefix("howdah_cost_plans_total{result=\"failed\"} "));
    assert!(failed.is_some_and(|count| count.parse::<u32>().unwrap() > 0), "{text}");

    // Texts of others are not planned with the rights of a superuser.
    let refused = Explain::new(server.uri("postgres", "postgres"), None, WITHIN);
    let why = refused.plan(large).await.unwrap_err();
    assert!(why.contains("is a superuser; use one that may only read"), "{why}");

    // Without its server the tier is silent, and the answers say so.
    drop(server);
    let answers = planned.answer(ask(&[large])).await.unwrap();
    assert_eq!(answers[0].targets[0].source, Source::Text);
}
