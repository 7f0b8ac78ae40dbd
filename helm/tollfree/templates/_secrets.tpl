{{/* Names of Secrets, generated values, and checks of the values. */}}

{{- define "tollfree.adminKey.secret" -}}
{{- default (include "tollfree.fullname" .) .Values.auth.adminKey.existingSecret }}
{{- end }}

{{- define "tollfree.masterKey.secret" -}}
{{- default (include "tollfree.fullname" .) .Values.auth.masterKey.existingSecret }}
{{- end }}

{{- define "tollfree.redisPassword.secret" -}}
{{- default (printf "%s-redis" (include "tollfree.fullname" .)) .Values.redis.bundled.existingSecret }}
{{- end }}

{{/*
A secret value: the one in the values, else the one in the Secret of an earlier installation, else a new one.
Called with (dict "root" $ "given" … "secret" … "key" … "new" …).
*/}}
{{- define "tollfree.stickySecret" -}}
{{- if .given }}
{{- .given }}
{{- else }}
{{- $old := lookup "v1" "Secret" .root.Release.Namespace .secret }}
{{- if and $old (hasKey (default dict $old.data) .key) }}
{{- index $old.data .key | b64dec }}
{{- else }}
{{- .new }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Checksum of the values that end up in a Secret of the chart, so that a change restarts the pods. Generated secrets never change, and
the contents of existing Secrets are not available here.
*/}}
{{- define "tollfree.secrets.checksum" -}}
{{- $redis := dict "password" .Values.redis.bundled.password "url" .Values.redis.external.url }}
{{- list .Values.providers.keys .Values.auth.adminKey.value .Values.auth.masterKey.value .Values.auth.sharedKey.value .Values.auth.clients.file .Values.otlp.headers.value $redis | toJson | sha256sum }}
{{- end }}

{{/* Checks that the schema cannot express, and checks of secrets, which an error of the schema would print. */}}
{{- define "tollfree.check" -}}
{{- if not (regexMatch "^([!-~]{16,})?$" .Values.auth.adminKey.value) }}
{{- fail "auth.adminKey.value: expected 16 or more visible ASCII characters without spaces" }}
{{- end }}
{{- if not (regexMatch "^([!-+--~]{32,}(,[!-+--~]{32,})*)?$" .Values.auth.masterKey.value) }}
{{- fail "auth.masterKey.value: expected keys of 32 or more visible ASCII characters without spaces, separated by commas" }}
{{- end }}
{{- if not (regexMatch "^[!-~]*$" .Values.auth.sharedKey.value) }}
{{- fail "auth.sharedKey.value: expected visible ASCII characters without spaces" }}
{{- end }}
{{- if not (regexMatch "^([A-Za-z0-9._~-]{16,})?$" .Values.redis.bundled.password) }}
{{- fail "redis.bundled.password: expected 16 or more letters, digits or - . _ ~ (the password becomes part of a URL)" }}
{{- end }}
{{- if not (regexMatch "^(rediss?([+](sentinel|cluster))?://[^ ]+)?$" .Values.redis.external.url) }}
{{- fail "redis.external.url: expected redis://, rediss://, redis+sentinel://…/master or redis+cluster://… (rediss+… for TLS)" }}
{{- end }}
{{- $external := or .Values.redis.external.url .Values.redis.external.existingSecret }}
{{- if and (not .Values.redis.bundled.enabled) (not $external) }}
{{- fail "redis.bundled.enabled is false: set redis.external.url or redis.external.existingSecret" }}
{{- end }}
{{- if and .Values.redis.bundled.enabled $external }}
{{- fail "redis.external is set while redis.bundled.enabled is true: use only one of them" }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas (%d) is greater than autoscaling.maxReplicas (%d)" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- end }}
{{- $needed := add .Values.shutdown.preStopSeconds (div .Values.shutdown.graceMs 1000) 15 }}
{{- if lt (int .Values.shutdown.terminationSeconds) (int $needed) }}
{{- fail (printf "shutdown.terminationSeconds (%d) leaves no time for streams to end: expected at least %d" (int .Values.shutdown.terminationSeconds) (int $needed)) }}
{{- end }}
{{- end }}
