{{- define "eyestream.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "eyestream.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "eyestream.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "eyestream.selector" . | nindent 6 }}
{{- end }}

{{- define "eyestream.egressDns" -}}
{{- with .Values.networkPolicy.dns }}
- to:
    - namespaceSelector: {matchLabels: {{ toJson .namespaceLabels }}}
      {{- with .podLabels }}
      podSelector: {matchLabels: {{ toJson . }}}
      {{- end }}
  ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{- /* Takes to (peers, or none for anywhere) and ports. */}}
{{- define "eyestream.egressTo" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* A part of this release as a peer. Takes root and component. */}}
{{- define "eyestream.peer" -}}
- podSelector:
    matchLabels:
      {{- include "eyestream.selector" . | nindent 6 }}
{{- end }}

{{- define "eyestream.ingressPrometheus" -}}
{{- with .root.Values.networkPolicy.prometheus }}
- from:
    - namespaceSelector: {matchLabels: {{ toJson .namespaceLabels }}}
      {{- with .podLabels }}
      podSelector: {matchLabels: {{ toJson . }}}
      {{- end }}
{{- end }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end }}

{{- /* Kafka, Redis and Triton: what a worker speaks to, and the tests with it. */}}
{{- define "eyestream.egressLine" -}}
{{ include "eyestream.egressDns" . | trim }}
{{ include "eyestream.egressTo" (dict "to" .Values.networkPolicy.kafka.to "ports" (include "eyestream.kafkaPorts" . | fromJsonArray)) }}
{{- if .Values.redis.dev.enabled }}
- to:
    {{- include "eyestream.peer" (dict "root" . "component" "redis") | nindent 4 }}
  ports: [{port: 6379, protocol: TCP}]
{{- else }}
{{ include "eyestream.egressTo" .Values.networkPolicy.redis }}
{{- end }}
{{- if .Values.triton.external }}
{{ include "eyestream.egressTo" (dict "ports" (list (splitList ":" .Values.triton.external | last | int))) }}
{{- else }}
- to:
    {{- include "eyestream.peer" (dict "root" . "component" "triton") | nindent 4 }}
  ports: [{port: 8000, protocol: TCP}, {port: 8001, protocol: TCP}]
{{- end }}
{{- end }}
