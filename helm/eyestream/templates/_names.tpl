{{- define "eyestream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" }}
{{- end }}

{{- /* At most 30 characters: Jobs, RayClusters and pools put theirs behind it. */}}
{{- define "eyestream.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains (include "eyestream.name" .) .Release.Name }}
{{- .Release.Name | trunc 30 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "eyestream.name" .) | trunc 30 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Labels that select: never change one. Takes root, component, and pool where there are several of a component. */}}
{{- define "eyestream.selector" -}}
app.kubernetes.io/name: {{ include "eyestream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
eyestream.io/pool: {{ . }}
{{- end }}
{{- end }}

{{- /* Labels of an object: takes what eyestream.selector takes, and extra, labels of this object alone. What the user adds
wins, each key once: a key that is there twice is no YAML to everybody who reads it after Helm. */}}
{{- define "eyestream.labels" -}}
{{- $added := mergeOverwrite (dict) (default dict .root.Values.global.commonLabels) (default dict .extra) }}
{{- include "eyestream.selector" . }}
{{- range $own := list
  (list "app.kubernetes.io/part-of" "eyestream")
  (list "app.kubernetes.io/version" (quote .root.Chart.AppVersion))
  (list "app.kubernetes.io/managed-by" .root.Release.Service)
  (list "helm.sh/chart" (printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_")))
}}
{{- if not (hasKey $added (first $own)) }}
{{ join ": " $own }}
{{- end }}
{{- end }}
{{- with $added }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Labels of a pod: what selects it and what the user adds; no version, which would replace every pod at an upgrade. */}}
{{- define "eyestream.podLabels" -}}
{{- $added := mergeOverwrite (dict) (default dict .root.Values.global.commonLabels) (default dict .extra) }}
{{- include "eyestream.selector" . }}
{{- if not (hasKey $added "app.kubernetes.io/part-of") }}
app.kubernetes.io/part-of: eyestream
{{- end }}
{{- with $added }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "eyestream.serviceAccount" -}}
{{- if .root.Values.serviceAccounts.create }}{{ include "eyestream.fullname" .root }}-{{ .component }}{{ else }}default{{ end }}
{{- end }}

{{- /* Takes root and image, a name of .Values.images. */}}
{{- define "eyestream.image" -}}
{{- $image := get .root.Values.images .image }}
{{- $registry := default $image.registry .root.Values.global.imageRegistry }}
{{- if and .root.Values.images.requireDigest (not $image.digest) }}
{{- fail (printf "images.%s.digest is empty while images.requireDigest is true: write the digest that your registry shows, sha256:…, or set images.requireDigest to false." .image) }}
{{- end }}
{{- with trimSuffix "/" $registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ default .root.Chart.AppVersion $image.tag }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}
