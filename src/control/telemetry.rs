//! Logs, and traces where a collector is named.

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How log lines are written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Flushes the traces when it is dropped.
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Starts logging, filtered by `RUST_LOG` (default `info`), and OpenTelemetry traces where the standard variables ask
/// for them (`docs/traces.md`). Call it once, on the runtime.
///
/// # Errors
/// When the exporter can't be made of the environment, or logging was started before.
pub fn start(format: LogFormat) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let wanted = traces_wanted(variable);
    let provider = (wanted == Ok(true)).then(tracer_provider).transpose()?;
    let traces =
        provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("howdah")));
    tracing_subscriber::registry().with(filter).with(lines).with(traces).try_init()?;
    if let Err(why) = wanted {
        tracing::warn!("no traces are sent: {why}");
    }
    Ok(Telemetry(provider))
}

/// An environment variable that is set and not empty: an empty one counts as absent.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the standard variables ask for traces.
///
/// # Errors
/// They ask for what this program can't do, in a sentence.
fn traces_wanted(variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        None if endpoints.iter().all(|name| variable(name).is_none()) => return Ok(false),
        Some("none") => return Ok(false),
        None | Some("otlp") => {}
        Some(other) => return Err(format!("OTEL_TRACES_EXPORTER is {other}; it can be otlp or none")),
    }
    let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    match protocols.into_iter().find_map(|name| Some((name, variable(name)?))) {
        Some((name, protocol)) if protocol != "grpc" => {
            Err(format!("{name} is {protocol}; name the collector's gRPC port and set grpc"))
        }
        _ => Ok(true),
    }
}

/// Whether the standard variables name the service.
fn names_service(variable: impl Fn(&str) -> Option<String>) -> bool {
    let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    variable("OTEL_SERVICE_NAME").is_some()
        || attributes.split(',').any(|entry| entry.split('=').next().is_some_and(|key| key.trim() == "service.name"))
}

fn tracer_provider() -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let resource = Resource::builder();
    let resource = if names_service(variable) { resource } else { resource.with_service_name("howdah") };
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");

    #[test]
    fn the_standard_variables_switch_traces_on_and_off() {
        let wanted = |pairs: &[_]| traces_wanted(environment(pairs));
        assert_eq!(wanted(&[]), Ok(false));
        assert_eq!(wanted(&[ENDPOINT]), Ok(true));
        assert_eq!(wanted(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(wanted(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(wanted(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]), Ok(false));
        assert_eq!(wanted(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")]), Ok(true));
        assert!(wanted(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err().contains("zipkin"));
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert!(wanted(&[ENDPOINT, http]).unwrap_err().contains("gRPC"));
        assert_eq!(wanted(&[ENDPOINT, http, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")]), Ok(true));
    }

    #[test]
    fn a_service_keeps_the_name_that_it_was_given() {
        let named = |pairs: &[_]| names_service(environment(pairs));
        assert!(!named(&[("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")]));
        assert!(named(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name = shop")]));
        assert!(named(&[("OTEL_SERVICE_NAME", "shop")]));
    }
}
