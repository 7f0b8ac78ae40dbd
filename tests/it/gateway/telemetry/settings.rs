//! Messages about invalid telemetry variables.

use crate::support::app::TestApp;

#[tokio::test]
async fn an_invalid_variable_prevents_the_start_and_names_the_valid_values() {
    let setup = TestApp::setup().env("OTEL_TRACES_SAMPLER", "sometimes").env("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke");
    let (code, log) = setup.fails().await;
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("OTEL_TRACES_SAMPLER: expected `always_on`") && log.contains("got `sometimes`"), "{log}");
    assert!(log.contains("OTEL_EXPORTER_OTLP_PROTOCOL: expected `grpc` or `http/protobuf`"), "{log}");
}

#[tokio::test]
async fn headers_for_the_collector_are_never_logged() {
    let setup = TestApp::setup().env("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer hunter2");
    let (code, log) = setup.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").fails().await;
    assert_eq!(code, 2, "{log}");
    assert!(
        log.contains("OTEL_EXPORTER_OTLP_HEADERS: expected headers as name=value") && !log.contains("hunter2"),
        "{log}"
    );
}
