{{- /* One value in TOML. Numbers arrive as floats: whole ones are written whole. */}}
{{- define "eyestream.toml" -}}
{{- if kindIs "string" . }}{{ toJson . }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else if kindIs "float64" . }}{{ if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else if kindIs "slice" . }}[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "eyestream.toml" $item }}{{ end }}]
{{- else if kindIs "map" . }}{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ toJson $key }} = {{ include "eyestream.toml" (get $ $key) }}{{ end }} }
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{- define "eyestream.bankFolder" -}}/banks{{ with .Values.banks.path }}/{{ . | trimAll "/" }}{{ end }}{{- end }}

{{- /* Where workers find Triton: a headless Service, so that clients spread their requests over the pods themselves. */}}
{{- define "eyestream.tritonAddress" -}}
{{- if .Values.triton.external }}{{ .Values.triton.external }}
{{- else }}{{ include "eyestream.fullname" . }}-grpc-{{ .Values.settings.triton.model }}.{{ .Release.Namespace }}.svc:8001
{{- end }}
{{- end }}

{{- /* settings.toml: what the user sets, and over it what the chart knows better. Keys that are null are left out. */}}
{{- define "eyestream.settings" -}}
{{- $own := dict
  "kafka" (dict
    "security" (include "eyestream.kafkaSecurity" . | fromJson)
    "security_files" (include "eyestream.kafkaSecurityFiles" . | fromJson))
  "triton" (dict "address" (include "eyestream.tritonAddress" .))
  "banks" (dict "shelf" (include "eyestream.bankFolder" .))
  "telemetry" (dict "metrics_host" "0.0.0.0" "metrics_port" .Values.monitoring.port)
}}
{{- range $section, $fields := mergeOverwrite (deepCopy .Values.settings) $own }}
[{{ $section }}]
{{- range $field, $value := $fields }}
{{- if not (kindIs "invalid" $value) }}
{{ $field }} = {{ include "eyestream.toml" $value }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
