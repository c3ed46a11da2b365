//! A cost model behind REST and gRPC, over loopback: a real model, real servers, real clients.

mod commands;
mod described;
mod plans;
mod process;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use howdah::cost::answer::{Detail, Predictor};
use howdah::cost::classes::{TargetSpec, parse_bounds};
use howdah::cost::log::Log;
use howdah::cost::model::CostModel;
use howdah::cost::replay::Replay;
use howdah::cost::train::{Candidate, Options, train};
use howdah::serve::cost::grpc::v1;
use howdah::serve::cost::{Groups, Limits, Serving, grpc, rest};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use v1::query_cost_client::QueryCostClient;

/// A small model of a made-up log, trained once.
fn model() -> Arc<CostModel> {
    static MODEL: OnceLock<Arc<CostModel>> = OnceLock::new();
    let make = || {
        let spec = |name: &str, unit: &str, bounds: [&str; 2]| TargetSpec {
            name: name.into(),
            unit: unit.into(),
            bounds: parse_bounds(name, bounds).unwrap(),
        };
        let specs = [spec("cpu", "seconds", ["30", "18000"]), spec("memory", "bytes", ["q0.5", "q0.9"])];
        Arc::new(train(&Replay::new(800, 0.5, 11), &specs, &quick(), &mut |_| {}).unwrap().model)
    };
    MODEL.get_or_init(make).clone()
}

/// A training that takes a second.
fn quick() -> Options {
    Options {
        grid: vec![Candidate { max_depth: 6, eta: 0.3, rounds: 20 }],
        beside: Vec::new(),
        folds: 2,
        max_features: 1000,
        ..Options::default()
    }
}

fn statements(count: u64) -> Vec<String> {
    let mut queries = Vec::new();
    Replay::new(count, 0.1, 12).read(&mut |statement| queries.push(statement.query)).unwrap();
    queries
}

struct Server {
    rest: SocketAddr,
    grpc: SocketAddr,
    serving: Arc<Serving>,
}

async fn start(limits: Limits) -> Server {
    // Any provider will do: nothing here is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let model = model();
    let groups = Groups::read("cpu=small,medium,large", &*model).unwrap();
    let serving = Arc::new(Serving::new(model, Some(("shop", "queries")), Some(groups), limits));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (rest, grpc) = (listener.local_addr().unwrap(), grpc_listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, rest::routes(serving.clone())).into_future());
    let (services, _) = grpc::routes(serving.clone()).await.unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(grpc_listener);
    tokio::spawn(tonic::transport::Server::builder().add_routes(services).serve_with_incoming(incoming));
    Server { rest, grpc, serving }
}

impl Server {
    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, String, String) {
        let client = reqwest::Client::new();
        let answer = client.post(format!("http://{}{path}", self.rest)).body(body).send().await.unwrap();
        let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.rest)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn refused(&self, path: &str, body: impl Into<reqwest::Body>, status: u16) -> String {
        let (found, kind, text) = self.post(path, body).await;
        assert_eq!((found, kind.as_str()), (status, "application/problem+json"), "{path}: {text}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["status"], status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn rest_and_grpc_answer_as_the_model_does() {
    let server = start(Limits::default()).await;
    let mut queries = statements(40);
    queries.extend([String::new(), "kein SQL; sélect '".into(), "select 'x' || repeat('y', 9)".repeat(800)]);
    let asked = json!({"queries": queries, "targets": ["memory", "cpu"], "tokens": 3, "nearest": 2});
    let (status, _, text) = server.post("/v1/predict", asked.to_string()).await;
    assert_eq!(status, 200, "{text}");
    let texts: Vec<&str> = queries.iter().map(String::as_str).collect();
    let own = model().predict(&texts, &[1, 0], Detail { tokens: 3, nearest: 2 });
    let rest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rest["answers"], serde_json::to_value(&own).unwrap());

    let mut client = QueryCostClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let request = v1::PredictRequest {
        queries: queries.clone(),
        targets: vec!["memory".into(), "cpu".into()],
        tokens: 3,
        nearest: 2,
    };
    let answers = client.predict(request).await.unwrap().into_inner().answers;
    let expected: Vec<v1::Answer> = own.into_iter().map(Into::into).collect();
    assert_eq!(answers, expected);
    assert!(answers[0].targets[0].p50 > 0.0 && answers[0].targets[0].target == "memory");

    let models = client.list_models(v1::ListModelsRequest {}).await.unwrap().into_inner();
    let (_, text) = server.get("/v1/models").await;
    let rest: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (rest["version"].as_str(), &rest["targets"][1]["name"]),
        (Some(models.version.as_str()), &json!("memory"))
    );
    assert_eq!(rest["targets"][0]["bounds"], json!(models.targets[0].bounds));
}

#[tokio::test]
async fn routers_get_what_they_read() {
    let server = start(Limits::default()).await;
    let query = &statements(1)[0];
    let class = model().predict(&[query], &[0], Detail::default())[0].targets[0].clone();
    let (status, kind, text) = server.post("/v1/cpu", json!({"query": query}).to_string()).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert_eq!(text, format!(r#"{{"cpu_pred_label":{},"cpu_pred_str":"{}"}}"#, class.class, class.label));
    let (_, _, text) = server.post("/v1/memory", json!({"query": query}).to_string()).await;
    assert!(text.starts_with(r#"{"memory_pred_label":"#), "{text}");

    let gateway = json!({
        "trinoQueryProperties": {"body": query, "queryType": "Query", "tables": [], "isNewQuerySubmission": true},
        "trinoRequestUser": null, "contentType": "application/json", "method": "POST", "requestURI": "/v1/statement",
        "remoteAddr": "10.0.0.1", "remoteHost": "10.0.0.1", "parameters": {}
    });
    let (status, _, text) = server.post("/v1/route", gateway.to_string()).await;
    let group = ["small", "medium", "large"][class.class];
    assert_eq!((status, text), (200, format!(r#"{{"routingGroup":"{group}","errors":[]}}"#)));
    // The gateway passes on what its own callers accept, and reads nothing that is compressed.
    for (path, body) in [("/v1/route", gateway.to_string()), ("/v1/cpu", json!({"query": query}).to_string())] {
        let request = reqwest::Client::new().post(format!("http://{}{path}", server.rest));
        let answer = request.header("accept-encoding", "gzip, zstd").body(body).send().await.unwrap();
        assert_eq!(answer.headers().get("content-encoding"), None, "{path}");
        assert!(answer.text().await.unwrap().starts_with('{'));
    }
    // What is no statement goes where unknown ones go, and is no error.
    let (status, _, text) = server.post("/v1/route", r#"{"trinoQueryProperties": {"body": ""}}"#).await;
    assert_eq!((status, text.as_str()), (200, r#"{"routingGroup":null,"errors":[]}"#));
    let (status, _, text) = server.post("/v1/route", r#"{"trinoQueryProperties": null}"#).await;
    assert!(status == 200 && text.contains(r#""routingGroup":null"#) && text.contains("analyzeRequest"), "{text}");
    let mut client = QueryCostClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let routed = client.route(v1::RouteRequest { query: query.clone() }).await.unwrap().into_inner();
    assert_eq!(routed.routing_group, group);

    // What the model does not vouch for goes where unknown statements go.
    let unknown = "vacuum zebra";
    assert!(model().predict(&[unknown], &[0], Detail::default())[0].targets[0].abstains);
    let gateway = json!({"trinoQueryProperties": {"body": unknown}});
    let (status, _, text) = server.post("/v1/route", gateway.to_string()).await;
    assert_eq!((status, text.as_str()), (200, r#"{"routingGroup":null,"errors":[]}"#));
    let refused = client.route(v1::RouteRequest { query: unknown.into() }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);

    let infer =
        json!({"id": "7", "inputs": [{"name": "query", "shape": [2], "datatype": "BYTES", "data": [query, "x"]}]});
    let (status, _, text) = server.post("/v2/models/cpu/infer", infer.to_string()).await;
    assert_eq!(status, 200, "{text}");
    let inferred: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&inferred["model_name"], &inferred["id"]), (&json!("cpu"), &json!("7")));
    assert_eq!(inferred["outputs"][0]["data"][0], class.class);
    assert_eq!(
        (&inferred["outputs"][2]["shape"], &inferred["outputs"][2]["name"]),
        (&json!([2, 3]), &json!("probabilities"))
    );
    let output = |name: &str| {
        let outputs = inferred["outputs"].as_array().unwrap();
        outputs.iter().find(|output| output["name"] == name).unwrap_or_else(|| panic!("{name} is not in {text}"))
    };
    assert_eq!(output("new_fingerprint")["data"][1], true);
    assert_eq!(output("unknown_tokens")["data"][1], 1.0);
    assert_eq!(output("unknown_tables")["shape"], json!([2]));
    let (_, described) = server.get("/v2/models/cpu").await;
    let described: Value = serde_json::from_str(&described).unwrap();
    let names = |outputs: &Value| outputs.as_array().unwrap().iter().map(|o| o["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&described["outputs"]), names(&inferred["outputs"]));
    assert_eq!(server.get("/v2/models/cpu/ready").await.0, 200);
    assert_eq!(server.get("/v2/models/disk/ready").await.0, 404);
}

#[tokio::test]
async fn a_refusal_says_what_was_wrong_and_what_to_do() {
    let server = start(Limits { body_bytes: 2 << 20, ..Limits::default() }).await;
    let detail = server.refused("/v1/predict", "{\"queries\": [\"select 1\",\n oops", 400).await;
    assert!(detail.contains("not JSON") && detail.contains("line 2"), "{detail}");
    let detail = server.refused("/v1/predict", b"\xff\xfe".to_vec(), 400).await;
    assert!(detail.contains("not JSON"), "{detail}");
    let detail = server.refused("/v1/predict", r#"{"queries": "select 1"}"#, 422).await;
    assert!(detail.contains("expected a sequence"), "{detail}");
    let detail = server.refused("/v1/predict", r#"{"querys": ["select 1"]}"#, 422).await;
    assert!(detail.contains("querys") && detail.contains("queries"), "{detail}");
    let detail = server.refused("/v1/predict", r#"{"queries": []}"#, 422).await;
    assert!(detail.contains("at least one"), "{detail}");
    let detail = server.refused("/v1/predict", r#"{"queries": ["select 1"], "targets": ["disk"]}"#, 422).await;
    assert!(detail.contains("no target \"disk\": it has cpu, memory"), "{detail}");
    let detail = server.refused("/v1/disk", r#"{"query": "select 1"}"#, 404).await;
    assert!(detail.contains("it has cpu, memory"), "{detail}");
    let detail = server.refused("/v1/predict", json!({"queries": vec!["select 1"; 10_000]}).to_string(), 413).await;
    assert!(detail.contains("10000 statements are more than 1000"), "{detail}");
    let detail = server.refused("/v1/cpu", json!({"query": "x".repeat(10 << 20)}).to_string(), 413).await;
    assert!(detail.contains("larger than 2097152 bytes"), "{detail}");
    let detail = server.refused("/nowhere", "", 404).await;
    assert!(detail.contains("/openapi.json"), "{detail}");
    assert_eq!(server.get("/v1/predict").await.0, 405);
    let infer =
        |shape: u8| json!({"inputs": [{"name": "query", "shape": [shape], "datatype": "BYTES", "data": ["x"]}]});
    let detail = server.refused("/v2/models/cpu/infer", infer(2).to_string(), 422).await;
    assert!(detail.contains("1 elements"), "{detail}");

    let mut client = QueryCostClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let error = client.predict(v1::PredictRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    let request =
        v1::PredictRequest { queries: vec!["select 1".into()], targets: vec!["disk".into()], ..Default::default() };
    let error = client.predict(request).await.unwrap_err();
    assert!(error.message().contains("it has cpu, memory"), "{error}");
    // Nothing of this harmed the server.
    assert_eq!(server.post("/v1/cpu", r#"{"query": "select 1"}"#).await.0, 200);

    let busy = start(Limits { concurrency: 0, ..Limits::default() }).await;
    let detail = busy.refused("/v1/cpu", r#"{"query": "select 1"}"#, 503).await;
    assert!(detail.contains("come again"), "{detail}");
}

#[tokio::test]
async fn bodies_may_be_compressed_either_way() {
    let server = start(Limits { body_bytes: 100_000, ..Limits::default() }).await;
    let pack = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let send = |body: Vec<u8>| {
        let request = reqwest::Client::new().post(format!("http://{}/v1/predict", server.rest));
        request.header("content-encoding", "gzip").header("accept-encoding", "gzip").body(body).send()
    };
    let answer = send(pack(&json!({"queries": statements(5)}).to_string())).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-encoding"].to_str().unwrap()), (200, "gzip"));
    let bytes = answer.bytes().await.unwrap();
    let unpacked: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
    assert_eq!(unpacked["answers"].as_array().unwrap().len(), 5);
    // A small body that becomes a large one is a large one.
    let answer = send(pack(&json!({"queries": ["x".repeat(200_000)]}).to_string())).await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
}

#[tokio::test]
async fn what_is_served_is_counted() {
    let server = start(Limits::default()).await;
    server.post("/v1/predict", json!({"queries": statements(3)}).to_string()).await;
    server.post("/v1/whatever", "{}").await;
    server.post("/a/path/of/nobody", "{}").await;
    server.serving.drain();
    assert_eq!(server.get("/readyz").await.0, 503);
    assert_eq!(server.get("/healthz").await.0, 200);
    let (_, text) = server.get("/metrics").await;
    for line in [
        r#"howdah_cost_requests_total{namespace="shop",model="queries",route="/v1/predict",status="200"} 1"#,
        r#"howdah_cost_requests_total{namespace="shop",model="queries",route="/v1/{target}",status="404"} 1"#,
        r#"howdah_cost_requests_total{namespace="shop",model="queries",route="none",status="404"} 1"#,
        r#"howdah_cost_unknown_token_share_count{namespace="shop",model="queries"} 3"#,
        r#"howdah_cost_request_duration_seconds_count{namespace="shop",model="queries",route="/v1/predict"} 1"#,
        r#"howdah_cost_predictions_total{namespace="shop",model="queries",target="cpu""#,
        r#"howdah_cost_model_info{namespace="shop",model="queries",version="#,
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("healthz"), "probes are nobody's requests");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = start(Limits { timeout: Duration::from_millis(100), ..Limits::default() }).await;
    let mut stream = tokio::net::TcpStream::connect(server.rest).await.unwrap();
    stream.write_all(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 504");
}

/// A call's bytes are known when they have come, and until then others' memory is theirs.
#[tokio::test]
async fn calls_that_send_much_and_do_not_end_are_refused_before_they_take_the_memory() {
    use http_body::Frame;
    use tower::ServiceExt;
    let body_bytes = 200_000;
    let server = start(Limits { body_bytes, ..Limits::default() }).await;
    let (services, _) = grpc::routes(server.serving.clone()).await.unwrap();
    let router = services.into_axum_router();
    let request = |body: axum::body::Body| {
        axum::http::Request::post("/howdah.v1.QueryCost/Predict")
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap()
    };
    // The prefix of a message of 190,000 bytes, and all of it but the last.
    let mut unfinished = vec![0, 0, 2, 0xe6, 0x30];
    unfinished.extend(std::iter::repeat_n(b'x', 189_999));
    let mut calls = Vec::new();
    for _ in 0..8 {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Frame<axum::body::Bytes>>(1);
        sender.send(Frame::data(unfinished.clone().into())).await.unwrap();
        let call = tokio::spawn(router.clone().oneshot(request(axum::body::Body::new(Channel(receiver)))));
        calls.push((sender, call));
    }
    let status = |response: axum::response::Response| {
        response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
    };
    let begin = std::time::Instant::now();
    loop {
        let refused = router.clone().oneshot(request(unfinished.clone().into())).await.unwrap();
        // RESOURCE_EXHAUSTED, and not that the message is cut off.
        if status(refused).as_deref() == Some("8") {
            break;
        }
        assert!(begin.elapsed().as_secs() < 20, "nobody is refused");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // What is small has room of its own, and who gives up makes room.
    let small = || request(vec![0, 0, 0, 0, 0].into());
    assert_ne!(status(router.clone().oneshot(small()).await.unwrap()).as_deref(), Some("8"));
    calls.drain(..).for_each(|(_, call)| call.abort());
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let cut_off = router.clone().oneshot(request(unfinished.into())).await.unwrap();
    assert_ne!(status(cut_off).as_deref(), Some("8"));
}

/// A body whose frames come from elsewhere.
struct Channel(tokio::sync::mpsc::Receiver<http_body::Frame<axum::body::Bytes>>);

impl http_body::Body for Channel {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<axum::body::Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}
