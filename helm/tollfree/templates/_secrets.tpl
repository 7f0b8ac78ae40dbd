{{/* Which Secret holds what, and what is made when nothing is given. */}}

{{- define "tollfree.adminKey.secret" -}}
{{- default (include "tollfree.fullname" .) .Values.auth.adminKey.existingSecret }}
{{- end }}

{{- define "tollfree.redisPassword.secret" -}}
{{- default (printf "%s-redis" (include "tollfree.fullname" .)) .Values.redis.bundled.existingSecret }}
{{- end }}

{{/*
What was given; else what the Secret of an earlier install holds; else something new.
Called with (dict "root" $ "given" … "secret" … "key" … "new" …).
*/}}
{{- define "tollfree.kept" -}}
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
Changes when a value that ends in one of our Secrets changes, so that pods roll. What is made by itself stays as it was made,
and what stands in an existing Secret cannot be seen from here.
*/}}
{{- define "tollfree.secrets.checksum" -}}
{{- $redis := dict "password" .Values.redis.bundled.password "url" .Values.redis.external.url }}
{{- list .Values.providers.keys .Values.auth.adminKey.value .Values.auth.sharedKey.value .Values.auth.clients.file .Values.otlp.headers.value $redis | toJson | sha256sum }}
{{- end }}

{{/* Mistakes that a schema cannot see, or must not repeat because they are secrets. */}}
{{- define "tollfree.check" -}}
{{- if not (regexMatch "^([!-~]{16,})?$" .Values.auth.adminKey.value) }}
{{- fail "auth.adminKey.value: expected 16 or more visible ASCII characters without blanks" }}
{{- end }}
{{- if not (regexMatch "^[!-~]*$" .Values.auth.sharedKey.value) }}
{{- fail "auth.sharedKey.value: expected visible ASCII characters without blanks" }}
{{- end }}
{{- if not (regexMatch "^([A-Za-z0-9._~-]{16,})?$" .Values.redis.bundled.password) }}
{{- fail "redis.bundled.password: expected 16 or more letters, digits or - . _ ~ (it becomes part of a URL)" }}
{{- end }}
{{- if not (regexMatch "^(rediss?([+](sentinel|cluster))?://[^ ]+)?$" .Values.redis.external.url) }}
{{- fail "redis.external.url: expected redis://, rediss://, redis+sentinel://…/master or redis+cluster://… (rediss+… for TLS)" }}
{{- end }}
{{- $external := or .Values.redis.external.url .Values.redis.external.existingSecret }}
{{- if and (not .Values.redis.bundled.enabled) (not $external) }}
{{- fail "redis.bundled is off: redis.external.url or redis.external.existingSecret must say where Redis is" }}
{{- end }}
{{- if and .Values.redis.bundled.enabled $external }}
{{- fail "redis.external is set while redis.bundled.enabled is true: choose one of them" }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d)" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- end }}
{{- $needed := add .Values.drain.preStopSeconds (div .Values.drain.graceMs 1000) 15 }}
{{- if lt (int .Values.drain.terminationSeconds) (int $needed) }}
{{- fail (printf "drain.terminationSeconds (%d) leaves streams no time to end: at least %d" (int .Values.drain.terminationSeconds) (int $needed)) }}
{{- end }}
{{- end }}
