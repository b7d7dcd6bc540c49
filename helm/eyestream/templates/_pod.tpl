{{- /* What every pod has. Takes root and component. */}}
{{- define "eyestream.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
serviceAccountName: {{ include "eyestream.serviceAccount" . }}
securityContext:
  {{- toYaml .root.Values.security.pod | nindent 2 }}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "eyestream.containerSecurity" -}}
securityContext:
  {{- toYaml .Values.security.container | nindent 2 }}
{{- end }}

{{- /* Where pods go. Takes root, component, pool, values (nodeSelector, tolerations, …) and gpu, a kind or
nothing; revision, true where each revision of a Deployment is spread by itself. */}}
{{- define "eyestream.placement" -}}
{{- $gpu := default dict .gpu }}
{{- $product := ternary (dict "nvidia.com/gpu.product" $gpu.product) dict (not (empty $gpu.product)) }}
{{- with mergeOverwrite (dict) $product (default dict $gpu.nodeSelector) .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat (default list $gpu.tolerations) .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $gpu.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- if .values.spread }}
topologySpreadConstraints:
{{- $revision := .revision }}
{{- $selector := dict "root" .root "component" .component "pool" .pool }}
{{- range $key, $when := dict "kubernetes.io/hostname" .values.spread.nodes "topology.kubernetes.io/zone" .values.spread.zones }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $when }}
    {{- if $revision }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
    labelSelector:
      matchLabels:
        {{- include "eyestream.selector" $selector | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* For a pod that comes and goes, and tries the line: where the workers may be. Takes root and component. */}}
{{- define "eyestream.placementOfTest" -}}
{{- include "eyestream.placement" (dict "root" .root "component" .component "values" (omit .root.Values.screening "spread")) | trim }}
{{- end }}

{{- /* Seconds that a pod of a pool may take to serve, the build of its engines with it. Takes root and pool, with defaults. */}}
{{- define "eyestream.poolDeadline" -}}
{{- $engines := .root.Values.engines }}
{{- $engine := ternary (mul $engines.deadlineSeconds (len .pool.models)) $engines.waitSeconds (eq $engines.mode "in-place") }}
{{- add $engine .pool.startupSeconds 60 }}
{{- end }}

{{- /* The same of the slowest pool that serves the line's model; 0 for a Triton that is not ours. */}}
{{- define "eyestream.tritonDeadline" -}}
{{- $slowest := 0 }}
{{- range .Values.triton.pools }}
{{- $pool := mergeOverwrite (deepCopy $.Values.triton.defaults) . }}
{{- if has $.Values.settings.triton.model $pool.models }}
{{- $slowest = max $slowest (include "eyestream.poolDeadline" (dict "root" $ "pool" $pool) | int) }}
{{- end }}
{{- end }}
{{- $slowest }}
{{- end }}

{{- /* Resources with the GPU of a kind added. Takes resources and gpu. */}}
{{- define "eyestream.resources" -}}
{{- $resources := deepCopy .resources }}
{{- if .gpu.resource }}
{{- $_ := set $resources "limits" (mergeOverwrite (dict .gpu.resource (default 1 .gpu.count | int | toString)) (default dict .resources.limits)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- /* A budget. Takes root, component, pool and pdb; count, how many pods there are at the least, where their owner has no
scale: Kubernetes counts from the scale what may be away, and without one it would evict nobody, for ever. */}}
{{- define "eyestream.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "eyestream.fullname" .root }}-{{ .component }}{{ with .pool }}-{{ . }}{{ end }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "eyestream.labels" . | nindent 4 }}
spec:
  {{- $away := .pdb.maxUnavailable }}
  {{- if .count }}
  {{- if kindIs "string" $away }}{{ $away = divf (mulf .count (trimSuffix "%" $away)) 100 | ceil }}{{ end }}
  minAvailable: {{ max 0 (sub .count $away) }}
  {{- else }}
  maxUnavailable: {{ $away }}
  {{- end }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "eyestream.selector" . | nindent 6 }}
{{- end }}
