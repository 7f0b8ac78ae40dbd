{{/* Environment of the gateway. An entry of extraEnv replaces an entry of the chart with the same name. */}}
{{- define "tollfree.environment" -}}
{{- $replaced := list }}
{{- range .Values.extraEnv }}{{ $replaced = append $replaced .name }}{{ end }}
{{- $entries := list }}
{{- range include "tollfree.chartEnvironment" . | fromYamlArray }}
{{- if not (has .name $replaced) }}{{ $entries = append $entries . }}{{ end }}
{{- end }}
{{- range concat $entries .Values.extraEnv }}
- name: {{ .name }}
  {{- if .valueFrom }}
  valueFrom: {{ toJson .valueFrom }}
  {{- else }}
  value: {{ .value | default "" | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Entries that the chart computes, then the settings, then the secrets. */}}
{{- define "tollfree.chartEnvironment" -}}
{{- $fullname := include "tollfree.fullname" . }}
{{- if not (hasKey .Values.settings "HOST") }}
- name: HOST
  value: "0.0.0.0"
{{- end }}
- name: PORT
  value: "3000"
- name: TOLLFREE_AUTH
  value: {{ .Values.auth.mode | quote }}
- name: TOLLFREE_POOL
  value: {{ .Values.pool | quote }}
- name: TOLLFREE__SHUTDOWN__GRACE_MS
  value: {{ .Values.shutdown.graceMs | int | quote }}
{{- if and .Values.ingress.enabled .Values.ingress.basePath }}
- name: TOLLFREE__HTTP__BASE_PATH
  value: {{ .Values.ingress.basePath | quote }}
{{- end }}
{{- $publicUrl := .Values.publicUrl }}
{{- if and (not $publicUrl) .Values.ingress.enabled .Values.ingress.tls.enabled (not (hasPrefix "*" .Values.ingress.host)) }}
{{- $publicUrl = printf "https://%s%s" .Values.ingress.host .Values.ingress.basePath }}
{{- end }}
{{- if and $publicUrl (not (hasKey .Values.settings "TOLLFREE_PUBLIC_URL")) (not (hasKey .Values.settings "TOLLFREE__SERVER__PUBLIC_URL")) }}
- name: TOLLFREE_PUBLIC_URL
  value: {{ $publicUrl | quote }}
{{- end }}
{{- if and .Values.ingress.enabled .Values.ingress.trustedProxies (not (hasKey .Values.settings "TRUSTED_PROXIES")) (not (hasKey .Values.settings "TOLLFREE__HTTP__TRUSTED_PROXIES")) }}
- name: TRUSTED_PROXIES
  value: {{ join "," .Values.ingress.trustedProxies | quote }}
{{- end }}
{{- if .Values.config }}
- name: TOLLFREE_CONFIG
  value: /etc/tollfree/tollfree.toml
{{- end }}
{{- if .Values.otlp.endpoint }}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.otlp.endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .Values.otlp.protocol | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ .Values.otlp.serviceName | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ printf "service.instance.id=$(POD_NAME),k8s.pod.name=$(POD_NAME),k8s.namespace.name=%s" .Release.Namespace | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .Values.otlp.sampleRatio | quote }}
{{- end }}
{{- if or .Values.otlp.headers.value .Values.otlp.headers.existingSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: { secretKeyRef: { name: {{ default $fullname .Values.otlp.headers.existingSecret }}, key: {{ .Values.otlp.headers.existingSecretKey }} } }
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  {{- /* Helm formats large integers as 1e+06. */}}
  {{- $whole := and (kindIs "float64" $value) (eq (toString (floor $value)) (toString $value)) }}
  value: {{ ternary (int64 $value | toString) (toString $value) $whole | quote }}
{{- end }}
- name: TOLLFREE_ADMIN_KEY
  valueFrom: { secretKeyRef: { name: {{ include "tollfree.adminKey.secret" . }}, key: {{ .Values.auth.adminKey.existingSecretKey }} } }
{{- /* Optional, so that a Secret made before there was a master key does not stop the pods. */}}
- name: TOLLFREE_MASTER_KEY
  valueFrom: { secretKeyRef: { name: {{ include "tollfree.masterKey.secret" . }}, key: {{ .Values.auth.masterKey.existingSecretKey }}, optional: true } }
{{- if or .Values.auth.sharedKey.value .Values.auth.sharedKey.existingSecret }}
- name: TOLLFREE_API_KEY
  valueFrom: { secretKeyRef: { name: {{ default $fullname .Values.auth.sharedKey.existingSecret }}, key: {{ .Values.auth.sharedKey.existingSecretKey }} } }
{{- end }}
{{- if or .Values.auth.clients.file .Values.auth.clients.existingSecret }}
- name: TOLLFREE_CLIENTS_FILE
  value: /etc/tollfree-clients/{{ .Values.auth.clients.existingSecretKey }}
{{- end }}
{{- if .Values.redis.bundled.enabled }}
- name: REDIS_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "tollfree.redisPassword.secret" . }}, key: {{ .Values.redis.bundled.existingSecretKey }} } }
- name: REDIS_URL
  value: "redis://:$(REDIS_PASSWORD)@{{ $fullname }}-redis:6379/0"
{{- else }}
- name: REDIS_URL
  valueFrom: { secretKeyRef: { name: {{ default $fullname .Values.redis.external.existingSecret }}, key: {{ .Values.redis.external.existingSecretKey }} } }
{{- end }}
{{- end }}
