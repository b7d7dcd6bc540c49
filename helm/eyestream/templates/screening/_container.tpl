{{- /* What the worker's container has whoever hosts it: environment, mounts. */}}
{{- define "eyestream.workerEnv" -}}
{{- /* So that every eyestream program that somebody calls in the pod knows the line. */ -}}
- {name: EYESTREAM_SETTINGS, value: /etc/eyestream/settings.toml}
{{- if .Values.redis.dev.enabled }}
- {name: EYESTREAM_REDIS__URL, value: redis://{{ include "eyestream.fullname" . }}-redis.{{ .Release.Namespace }}.svc:6379/0}
{{- else }}
- name: EYESTREAM_REDIS__URL
  valueFrom: {secretKeyRef: {name: {{ .Values.redis.urlSecret.name }}, key: {{ .Values.redis.urlSecret.key }}}}
{{- end }}
- {name: HOME, value: /tmp}
{{- range $name, $value := .Values.screening.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "eyestream.workerMounts" -}}
- {name: settings, mountPath: /etc/eyestream/settings.toml, subPath: settings.toml, readOnly: true}
- {name: banks, mountPath: /banks, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if include "eyestream.kafkaSources" . | trim }}
- {name: kafka, mountPath: {{ include "eyestream.kafkaFiles" . }}, readOnly: true}
{{- end }}
{{- if .Values.redis.caSecret.name }}
- {name: redis, mountPath: /etc/eyestream/redis, readOnly: true}
{{- end }}
{{- end }}

{{- define "eyestream.workerVolumes" -}}
- name: settings
  configMap:
    name: {{ include "eyestream.fullname" . }}-settings
    {{- /* KubeRay clears Redis with a pod of the head's template after the uninstall, when this is gone. */}}
    {{- if eq .Values.screening.host "ray" }}
    optional: true
    {{- end }}
- name: banks
  {{- if eq .Values.banks.source "claim" }}
  persistentVolumeClaim: {claimName: {{ .Values.banks.claim }}, readOnly: true}
  {{- else }}
  image: {reference: {{ .Values.banks.image | quote }}, pullPolicy: {{ .Values.images.pullPolicy }}}
  {{- end }}
- name: tmp
  emptyDir: {}
{{- with include "eyestream.kafkaSources" . | trim }}
- name: kafka
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- with .Values.redis.caSecret }}
{{- if .name }}
- name: redis
  secret: {secretName: {{ .name }}, items: [{key: {{ .key }}, path: ca.crt}], defaultMode: 0440}
{{- end }}
{{- end }}
{{- end }}

{{- define "eyestream.workerEnvFrom" -}}
{{- with .Values.screening.envFromSecrets }}
envFrom:
  {{- range . }}
  - secretRef: {name: {{ . }}}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Pods are replaced when the settings change. */}}
{{- define "eyestream.workerAnnotations" -}}
eyestream.io/settings: {{ include "eyestream.settings" . | sha256sum | trunc 16 }}
{{- with .Values.screening.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "eyestream.workerGrace" -}}
{{- add (ceil .Values.settings.serve.drain_timeout_s) .Values.screening.graceSeconds }}
{{- end }}

{{- /* Seconds without a good health check after which a plain worker counts as hung. */}}
{{- define "eyestream.aliveWithin" -}}
{{- add 60 (mul 5 (ceil .Values.settings.serve.health_period_s)) }}
{{- end }}
