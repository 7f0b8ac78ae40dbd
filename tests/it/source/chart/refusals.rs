//! Wrong values stop an install, with a word on what is wrong.

use super::{CHART, both, tool};

/// What is set, and what must stand in the refusal: the value's place and what was expected.
const WRONG: [(&str, &[&str]); 24] = [
    ("replicaCount=0", &["/replicaCount", "minimum"]),
    ("replicaCount=two", &["/replicaCount", "want integer"]),
    ("replicas=3", &["additional properties 'replicas' not allowed"]),
    ("auth.mode=closed", &["/auth/mode", "'open', 'required'"]),
    ("auth.adminKey.value=secret", &["auth.adminKey.value: expected 16 or more"]),
    ("auth.sharedKey.value=a secret with blanks", &["auth.sharedKey.value: expected visible"]),
    ("settings.LOG_LEVLE=debug", &["/settings", "LOG_LEVLE"]),
    ("settings.GROQ_API_KEY=gsk_secret", &["/settings", "GROQ_API_KEY"]),
    ("settings.PORT=8080", &["/settings", "PORT"]),
    ("settings.RATE_LIMIT_RPM=-1", &["/settings/RATE_LIMIT_RPM"]),
    ("settings.GROQ_BASE_URL=groq.com", &["/settings/GROQ_BASE_URL", "^https?://"]),
    ("providers.keys.groq=gsk_a", &["/providers/keys", "'groq'"]),
    ("providers.keys.GROQ_API_KEY=", &["/providers/keys/GROQ_API_KEY", "minLength"]),
    ("redis.external.url=http://:secret@redis:6379", &["redis.external.url: expected redis://"]),
    ("redis.bundled.enabled=false", &["redis.external.url or redis.external.existingSecret must say where Redis is"]),
    ("redis.external.existingSecret=mine", &["while redis.bundled.enabled is true"]),
    ("redis.bundled.password=secret/b:c@d-and-some-more", &["redis.bundled.password: expected 16 or more letters"]),
    ("redis.bundled.runAsUser=0", &["/redis/bundled/runAsUser"]),
    ("ingress.controller=apache", &["/ingress/controller", "'nginx'"]),
    ("ingress.host=https://llm.example.org", &["/ingress/host"]),
    ("autoscaling.minReplicas=20", &["autoscaling.minReplicas (20) is more than autoscaling.maxReplicas (10)"]),
    ("drain.terminationSeconds=16", &["leaves streams no time to end"]),
    ("otlp.sampleRatio=2", &["/otlp/sampleRatio", "maximum"]),
    ("image.digest=sha256:abc", &["/image/digest"]),
];

#[test]
fn a_wrong_value_is_refused_by_name() {
    for (set, expected) in WRONG {
        let output = tool("helm").args(["template", "t", CHART, "--set", set]).output().unwrap();
        let said = both(&output);
        assert!(!output.status.success(), "{set} is accepted");
        for word in expected {
            assert!(said.contains(word), "{set}: no `{word}` in\n{said}");
        }
        assert!(
            !said.contains("secret/") && !said.contains("gsk_secret") && !said.contains(":secret@"),
            "a secret is repeated:\n{said}"
        );
    }
}

#[test]
fn an_older_kubernetes_is_refused() {
    let output = tool("helm").args(["template", "t", CHART, "--kube-version", "1.29.0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(both(&output).contains("incompatible with Kubernetes v1.29.0"), "{}", both(&output));
}
