//! `howdah reference`: the reference of kinds, reasons and permissions in Markdown, from the types themselves.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};

use crate::kinds;
use crate::{anomaly, cost, instance, tuning};

/// The reference as Markdown.
pub fn text() -> String {
    let mut text =
        String::from("# Reference\n\nGenerated from the types by `howdah reference`; `make generate` renews it.\n");
    for entry in kinds::all() {
        let names = &entry.kind.crd.spec.names;
        let short = names.short_names.clone().unwrap_or_default().join("`, `");
        let _ = write!(text, "\n## {}\n\n`{}`, short `{short}`.\n", names.kind, entry.kind.group_version());
        let schema = entry
            .kind
            .crd
            .spec
            .versions
            .first()
            .and_then(|v| v.schema.as_ref())
            .and_then(|s| s.open_api_v3_schema.as_ref());
        for part in ["spec", "status"] {
            let Some(props) = schema.and_then(|s| s.properties.as_ref()).and_then(|p| p.get(part)) else { continue };
            let _ = write!(
                text,
                "\n### {} {part}\n\n| field | type | default | meaning |\n|---|---|---|---|\n",
                names.kind
            );
            fields(&mut text, "", props);
        }
    }
    macro_rules! reasons {
        ($of:literal, $reason:ty) => {
            let _ = write!(text, "\n## Reasons of {}\n\n| reason | meaning |\n|---|---|\n", $of);
            for reason in <$reason>::ALL {
                let _ = writeln!(text, "| `{reason}` | {} |", reason.sentence());
            }
        };
    }
    reasons!("a PostgresInstance", instance::Reason);
    reasons!("a PostgresTuning and its trials", tuning::reason::Reason);
    reasons!("an AnomalyDetector", anomaly::reason::Reason);
    reasons!("a QueryCostModel", cost::reason::Reason);
    text
}

fn fields(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.clone().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        // Kubernetes' own types have a reference of their own.
        let resources = field.properties.as_ref().is_some_and(|properties| properties.contains_key("claims"));
        let foreign = name == "conditions" || resources;
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let items = field.items.as_ref().map(|items| match items {
            JSONSchemaPropsOrArray::Schema(item) => vec![item.as_ref()],
            JSONSchemaPropsOrArray::Schemas(items) => items.iter().collect(),
        });
        let default =
            field.default.as_ref().filter(|d| !d.0.is_object()).map(|d| format!("`{}`", d.0)).unwrap_or_default();
        let default = if required.contains(name) { "required".to_owned() } else { default };
        let meaning = field.description.clone().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(text, "| `{path}` | {} | {default} | {meaning} |", kind(field));
        if !foreign {
            fields(text, &path, field);
            for item in items.into_iter().flatten() {
                fields(text, &format!("{path}[]"), item);
            }
        }
    }
}

fn kind(field: &JSONSchemaProps) -> String {
    match &field.enum_ {
        Some(values) => values
            .iter()
            .filter(|v| !v.0.is_null())
            .map(|v| format!("`{}`", v.0))
            .collect::<Vec<_>>()
            .join(", ")
            .replace('"', ""),
        None if field.x_kubernetes_int_or_string == Some(true) => "integer or string".into(),
        None => field.type_.clone().unwrap_or_default(),
    }
}
