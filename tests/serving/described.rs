//! The API is what `/openapi.json` says it is: bodies made from the document itself, right and wrong ones, get the answers
//! that it describes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::{Limits, start};

/// Requests for each operation.
const REQUESTS: usize = 40;

struct Document(Value);

impl Document {
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(path) => {
                self.0.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} leads nowhere"))
            }
            None => schema,
        }
    }

    fn types(schema: &Value) -> Vec<&str> {
        match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// A value that the schema allows.
    fn make(&self, schema: &Value, random: &mut ChaCha8Rng, depth: usize) -> Value {
        let schema = self.resolve(schema);
        if let Some(some) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            return self.make(&some[random.random_range(0..some.len())], random, depth);
        }
        let types = Self::types(schema);
        match types.get(random.random_range(0..types.len().max(1))).copied() {
            Some("string") => ["select 1", "", "cpu", "query", "BYTES", "é'\u{0}"][random.random_range(0..6)].into(),
            Some("integer" | "number") => {
                let low = schema["minimum"].as_u64().unwrap_or(0);
                random.random_range(low..=schema["maximum"].as_u64().unwrap_or(low + 3)).into()
            }
            Some("boolean") => random.random_bool(0.5).into(),
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
                let count = random.random_range(least..least + 3);
                (0..count).map(|_| self.make(&schema["items"], random, depth + 1)).collect()
            }
            Some("object") => {
                let required: Vec<&str> =
                    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let fields = schema["properties"].as_object().into_iter().flatten();
                let wanted = fields.filter(|(name, _)| required.contains(&name.as_str()) || depth == 0);
                let made: Map<String, Value> =
                    wanted.map(|(name, field)| (name.clone(), self.make(field, random, depth + 1))).collect();
                made.into()
            }
            _ => Value::Null,
        }
    }

    /// What of a value the schema does not allow.
    fn fault(&self, schema: &Value, value: &Value) -> Option<String> {
        let schema = self.resolve(schema);
        if let Some(some) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let fits = some.iter().any(|one| self.fault(one, value).is_none());
            return (!fits).then(|| format!("{value} is none of {some:?}"));
        }
        let own = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let types = Self::types(schema);
        let fits = types.contains(&own) || own == "integer" && types.contains(&"number");
        if !types.is_empty() && !fits {
            return Some(format!("{value} is {own}, not {types:?}"));
        }
        if schema["enum"].as_array().is_some_and(|known| !known.contains(value)) {
            return Some(format!("{value} is none of {}", schema["enum"]));
        }
        if let Some(items) = value.as_array() {
            return items.iter().find_map(|item| self.fault(&schema["items"], item));
        }
        let object = value.as_object()?;
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = required.into_iter().find(|name| !object.contains_key(*name)) {
            return Some(format!("{value} has no {missing}"));
        }
        object.iter().find_map(|(name, field)| match schema["properties"].get(name) {
            Some(described) => self.fault(described, field),
            None if schema["additionalProperties"].is_object() => self.fault(&schema["additionalProperties"], field),
            None => Some(format!("{name} is not described")),
        })
    }
}

/// One thing is changed, so that the value may be wrong.
fn spoil(value: &mut Value, random: &mut ChaCha8Rng) {
    let odd = [json!(null), json!(-1), json!(1e300), json!("x"), json!([]), json!({}), json!([null]), json!(true)];
    let mut put = |value: &mut Value| *value = odd[random.random_range(0..odd.len())].clone();
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let name = fields.keys().nth(fields.len() / 2).cloned().unwrap_or_default();
            put(fields.get_mut(&name).unwrap());
        }
        _ => put(value),
    }
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let server = start(Limits::default()).await;
    let (status, text) = server.get("/openapi.json").await;
    assert_eq!(status, 200);
    let document = Document(serde_json::from_str(&text).unwrap());
    let client = reqwest::Client::new();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let (mut operations, mut seen) = (0, std::collections::BTreeSet::new());
    for (path, item) in document.0["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert_eq!(method == "post", schema.is_object(), "{method} {path}");
            for request in 0..if schema.is_object() { REQUESTS } else { 3 } {
                let target = ["cpu", "memory", "none of ours"][request % 3];
                let url = format!("http://{}{}", server.rest, path.replace("{target}", target));
                let mut body = document.make(schema, &mut random, 0);
                let spoilt = request % 2 == 1;
                if spoilt {
                    spoil(&mut body, &mut random);
                }
                let sent = match method.as_str() {
                    "post" => client.post(url).body(body.to_string()),
                    _ => client.get(url),
                };
                let answer = sent.send().await.unwrap();
                let status = answer.status().as_u16().to_string();
                let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap());
                let kind = kind.split(';').next().unwrap_or_default().to_owned();
                let told = answer.text().await.unwrap();
                let context = format!("{method} {path} of {target} with {body}: {status} {told}");
                let described = operation["responses"].get(&status);
                let described = described.unwrap_or_else(|| panic!("{context}: the status is not described"));
                assert!(status.as_str() < "500", "{context}");
                seen.insert((path.clone(), status));
                let Some(content) = described.get("content") else { continue };
                let schema =
                    &content.get(&kind).unwrap_or_else(|| panic!("{context}: {kind} is not described"))["schema"];
                if kind.ends_with("json") {
                    let fault = document.fault(schema, &serde_json::from_str(&told).unwrap());
                    assert_eq!(fault, None, "{context}");
                }
            }
        }
    }
    assert!(operations >= 10, "{operations} operations");
    let saw = |path: &str, status: &str| seen.contains(&(path.to_owned(), status.to_owned()));
    assert!(saw("/v1/predict", "200") && saw("/v1/predict", "422") && saw("/v1/{target}", "404"), "{seen:?}");
}
