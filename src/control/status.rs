//! The status that is written: none when it would change nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::conditions;

/// The field manager of every status.
pub const FIELD_MANAGER: &str = "howdah-status";

/// The conditions of a status; none where there are none or they can't be read.
pub fn conditions_of(status: &Value) -> Vec<Condition> {
    let found = status.get("conditions").cloned().unwrap_or_default();
    serde_json::from_value(found).unwrap_or_default()
}

/// What to write in place of `old`: `new` with the conditions' transition times filled in, or `None` when that is
/// what the object has already.
pub fn to_write(old: &Value, mut new: Value, now: Timestamp) -> Option<Value> {
    let told = conditions_of(&new);
    if !told.is_empty() {
        let merged = conditions::merge(&conditions_of(old), told, now);
        new["conditions"] = serde_json::to_value(merged).unwrap_or_default();
    }
    let empty = |status: &Value| status.as_object().is_none_or(|fields| fields.is_empty());
    (*old != new && !(empty(old) && empty(&new))).then_some(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(ready: bool, version: &str) -> Value {
        let ready = conditions::condition("Ready", ready, "R", "m", Some(1));
        json!({"observedGeneration": 1, "conditions": [ready], "serverVersion": version})
    }

    #[test]
    fn a_status_is_written_once() {
        let now = Timestamp::from_second(100).unwrap();
        let later = Timestamp::from_second(200).unwrap();
        let written = to_write(&Value::Null, status(true, "15.18"), now).unwrap();
        assert_eq!(written["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:40Z");
        assert_eq!(to_write(&written, status(true, "15.18"), later), None);
        let changed = to_write(&written, status(true, "16.2"), later).unwrap();
        assert_eq!(changed["conditions"], written["conditions"]);
        assert_eq!(to_write(&Value::Null, json!({}), now), None);
    }
}
