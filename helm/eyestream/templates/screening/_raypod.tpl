{{- /* Pods of workers that there are at the least. */}}
{{- define "eyestream.rayWorkers" -}}
{{- $serve := .Values.settings.serve }}
{{- if .Values.ray.autoscaling }}{{ $serve.replicas }}{{ else }}{{ default $serve.replicas $serve.max_replicas }}{{ end }}
{{- end }}

{{- /* The template of a Ray pod; KubeRay writes its command. Takes root, pool (head or workers), image, resources, scales. */}}
{{- define "eyestream.rayPod" -}}
{{- $part := dict "root" .root "component" "screening" "pool" .pool -}}
metadata:
  labels:
    {{- include "eyestream.podLabels" (dict "root" .root "component" "screening" "pool" .pool "extra" .root.Values.screening.podLabels) | nindent 4 }}
  annotations:
    {{- include "eyestream.workerAnnotations" .root | nindent 4 }}
spec:
  {{- if eq .pool "head" }}
  {{- /* Its account is KubeRay's, or the namespace's own: the pod that clears Redis after an uninstall is made from this
  template, and by then what the chart made is gone. Ray's autoscaler asks the API server for pods. */}}
  {{- omit (include "eyestream.pod" $part | fromYaml) "automountServiceAccountToken" "serviceAccountName" | toYaml | nindent 2 }}
  automountServiceAccountToken: {{ not (not .scales) }}
  {{- else }}
  {{- include "eyestream.pod" $part | nindent 2 }}
  {{- end }}
  {{- include "eyestream.placement" (dict "root" .root "component" "screening" "pool" .pool "values" .root.Values.screening) | trim | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "eyestream.workerGrace" .root }}
  containers:
    - name: ray
      image: {{ .image }}
      imagePullPolicy: {{ .root.Values.images.pullPolicy }}
      {{- include "eyestream.containerSecurity" .root | nindent 6 }}
      env:
        {{- include "eyestream.workerEnv" .root | trim | nindent 8 }}
        {{- /* On SIGTERM Ray lets its replicas drain for so long, 30 seconds when not told; then it kills them. */}}
        - {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: {{ sub (include "eyestream.workerGrace" .root) 5 | quote }}}
      {{- with include "eyestream.workerEnvFrom" .root | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      ports:
        {{- if eq .pool "head" }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: serve, containerPort: 8000}
        {{- else }}
        - {name: metrics, containerPort: {{ .root.Values.monitoring.port }}}
        - {name: serve, containerPort: 8000}
        {{- end }}
      {{- /* Ours, since KubeRay's own need wget in the image. */}}
      {{- if eq .pool "head" }}
      livenessProbe:
        httpGet: {path: /api/gcs_healthz, port: 8265}
        initialDelaySeconds: 30
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 24
      readinessProbe:
        httpGet: {path: /api/gcs_healthz, port: 8265}
        periodSeconds: 5
        timeoutSeconds: 5
      {{- else }}
      livenessProbe:
        httpGet: {path: /api/local_raylet_healthz, port: 52365}
        initialDelaySeconds: 30
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 24
      readinessProbe:
        httpGet: {path: /api/local_raylet_healthz, port: 52365}
        periodSeconds: 5
        timeoutSeconds: 5
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        {{- include "eyestream.workerMounts" .root | nindent 8 }}
  volumes:
    {{- include "eyestream.workerVolumes" .root | nindent 4 }}
{{- end }}
