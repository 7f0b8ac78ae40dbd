//! The chart rejects invalid values with a message that names the value.

use super::{CHART, both, tool};

/// An invalid value, and the parts of its error message: the place of the value and the expectation.
const INVALID: [(&str, &[&str]); 29] = [
    ("replicaCount=0", &["/replicaCount", "minimum"]),
    ("replicaCount=two", &["/replicaCount", "want integer"]),
    ("replicas=3", &["additional properties 'replicas' not allowed"]),
    ("auth.mode=closed", &["/auth/mode", "'open', 'required'"]),
    ("auth.adminKey.value=secret", &["auth.adminKey.value: expected 16 or more"]),
    ("auth.masterKey.value=secret/too-short", &["auth.masterKey.value: expected keys of 32 or more"]),
    ("auth.sharedKey.value=a secret with blanks", &["auth.sharedKey.value: expected visible"]),
    ("settings.LOG_LEVLE=debug", &["/settings", "LOG_LEVLE"]),
    ("settings.GROQ_API_KEY=gsk_secret", &["/settings", "GROQ_API_KEY"]),
    ("settings.PORT=8080", &["/settings", "PORT"]),
    ("settings.RATE_LIMIT_RPM=-1", &["/settings/RATE_LIMIT_RPM"]),
    ("settings.GROQ_BASE_URL=groq.com", &["/settings/GROQ_BASE_URL", "^https?://"]),
    ("providers.keys.groq=gsk_a", &["/providers/keys", "'groq'"]),
    ("providers.keys.GROQ_API_KEY=", &["/providers/keys/GROQ_API_KEY", "minLength"]),
    ("redis.external.url=http://:secret@redis:6379", &["redis.external.url: expected redis://"]),
    ("redis.bundled.enabled=false", &["set redis.external.url or redis.external.existingSecret"]),
    ("redis.external.existingSecret=mine", &["while redis.bundled.enabled is true"]),
    ("redis.bundled.password=secret/b:c@d-and-some-more", &["redis.bundled.password: expected 16 or more letters"]),
    ("redis.bundled.runAsUser=0", &["/redis/bundled/runAsUser"]),
    ("ingress.controller=apache", &["/ingress/controller", "'nginx'"]),
    ("ingress.host=https://llm.example.org", &["/ingress/host"]),
    ("autoscaling.minReplicas=20", &["autoscaling.minReplicas (20) is greater than autoscaling.maxReplicas (10)"]),
    ("shutdown.terminationSeconds=16", &["leaves no time for streams to end"]),
    ("otlp.sampleRatio=2", &["/otlp/sampleRatio", "maximum"]),
    ("image.digest=sha256:abc", &["/image/digest"]),
    ("service.ipFamilies={IPv5}", &["/service/ipFamilies"]),
    ("ingress.basePath=llm/", &["/ingress/basePath"]),
    ("publicUrl=llm.example.com", &["/publicUrl"]),
    ("global.imageRegistry=https://mirror", &["/global/imageRegistry"]),
];

#[test]
fn an_invalid_value_is_rejected_by_name() {
    for (set, expected) in INVALID {
        let output = tool("helm").args(["template", "t", CHART, "--set", set]).output().unwrap();
        let message = both(&output);
        assert!(!output.status.success(), "{set} is accepted");
        for word in expected {
            assert!(message.contains(word), "{set}: no `{word}` in\n{message}");
        }
        assert!(
            !message.contains("secret/") && !message.contains("gsk_secret") && !message.contains(":secret@"),
            "the message contains a secret:\n{message}"
        );
    }
}

#[test]
fn an_older_kubernetes_is_rejected() {
    let output = tool("helm").args(["template", "t", CHART, "--kube-version", "1.29.0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(both(&output).contains("incompatible with Kubernetes v1.29.0"), "{}", both(&output));
}
