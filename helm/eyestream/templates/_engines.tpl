{{- /* The folder of one engine in the cache: model, encoder, checkpoint, kind of GPU, TensorRT. Takes root, model, gpu (a kind's
values). One file may hold several encoders, so its digest alone does not name one.

v2 is what workers ask of an engine's folder (docs/decisions/0023-versions-name-engines.md). Those of another number stay
in the cache, for pods of the release before, and are built anew for this one. */}}
{{- define "eyestream.engineKey" -}}
{{- $model := get .root.Values.models .model }}
{{- $engine := printf "v2/%s/%s-%s" .model (default .model $model.encoder) ($model.digest | trunc 16) }}
{{- if .gpu.resource }}
{{- $product := default "gpu" .gpu.product | lower | trimSuffix "-shared" }}
{{- if and .gpu.migProfile (not (contains "-mig-" $product)) }}{{ $product = printf "%s-mig-%s" $product .gpu.migProfile }}{{ end }}
{{- printf "%s/%s-cc%s-trt%s" $engine $product .gpu.computeCapability .root.Values.engines.tensorrt }}
{{- else }}
{{- printf "%s/cpu" $engine }}
{{- end }}
{{- end }}

{{- /* What the scripts check against the machine, as environment variables. Takes root and gpu. */}}
{{- define "eyestream.engineEnv" -}}
- {name: ENGINE_CACHE, value: /engines}
{{- if .gpu.resource }}
- {name: ENGINE_GPU, value: {{ default "" .gpu.product | trimSuffix "-SHARED" | quote }}}
- {name: ENGINE_COMPUTE, value: {{ .gpu.computeCapability | quote }}}
- {name: ENGINE_MIG, value: {{ default "" .gpu.migProfile | quote }}}
- {name: ENGINE_TENSORRT, value: {{ .root.Values.engines.tensorrt | quote }}}
{{- else }}
- {name: ENGINE_GPU, value: cpu}
{{- end }}
{{- end }}

{{- define "eyestream.engineClaim" -}}
{{- default (printf "%s-engines" (include "eyestream.fullname" .)) .Values.engines.cache.claim }}
{{- end }}

{{- /* The distinct pairs of model and kind of GPU over all pools, by engine key, as a dict in JSON. */}}
{{- define "eyestream.flavours" -}}
{{- $flavours := dict }}
{{- range $name, $pool := .Values.triton.pools }}
{{- $gpu := get $.Values.gpus $pool.gpu }}
{{- range $pool.models }}
{{- $key := include "eyestream.engineKey" (dict "root" $ "model" . "gpu" $gpu) }}
{{- if not (hasKey $flavours $key) }}{{ $_ := set $flavours $key (dict "model" . "kind" $pool.gpu) }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $flavours }}
{{- end }}

{{- /* The volume that engines are in. */}}
{{- define "eyestream.engineVolume" -}}
- name: engines
  {{- if .Values.engines.cache.perPod }}
  emptyDir: {sizeLimit: {{ .Values.engines.cache.size }}}
  {{- else }}
  persistentVolumeClaim: {claimName: {{ include "eyestream.engineClaim" . }}}
  {{- end }}
{{- end }}

{{- /* What a build mounts beside the cache: each claim or image once, however many models come from it, since Kubernetes
mounts no claim twice in one pod (kubernetes #51853). Takes root and models (names). */}}
{{- define "eyestream.buildVolumes" -}}
{{- $root := .root }}
- name: scratch
  emptyDir: {}
{{- $known := dict }}
{{- range .models }}
{{- with (get $root.Values.models .).checkpoint }}
{{- $name := include "eyestream.checkpointVolume" . }}
{{- if and $name (not (hasKey $known $name)) }}
{{- $_ := set $known $name true }}
- name: {{ $name }}
  {{- if .claim }}
  persistentVolumeClaim: {claimName: {{ .claim }}, readOnly: true}
  {{- else }}
  image: {reference: {{ .image | quote }}, pullPolicy: {{ $root.Values.images.pullPolicy }}}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Nothing for a checkpoint that is in the image or downloaded. Takes a model's checkpoint. */}}
{{- define "eyestream.checkpointVolume" -}}
{{- with default .image .claim }}checkpoints-{{ sha256sum . | trunc 8 }}{{ end }}
{{- end }}

{{- /* Not empty where a model that some pool serves comes from a URL. */}}
{{- define "eyestream.downloads" -}}
{{- range .Values.triton.pools }}{{ range .models }}{{ with (get $.Values.models .).checkpoint.url }}{{ . }}{{ end }}{{ end }}{{ end }}
{{- end }}

{{- /* The container that builds one engine where it is missing. Takes root, name, key, model (a name), kind (a name). */}}
{{- define "eyestream.buildContainer" -}}
{{- $root := .root }}
{{- $gpu := get $root.Values.gpus .kind }}
{{- $model := get $root.Values.models .model }}
{{- $checkpoint := $model.checkpoint }}
{{- $file := ternary "/scratch/checkpoint" (printf "/checkpoints/%s" $checkpoint.path) (not (empty $checkpoint.url)) }}
- name: {{ .name }}
  image: {{ include "eyestream.image" (dict "root" $root "image" "engines") }}
  imagePullPolicy: {{ $root.Values.images.pullPolicy }}
  {{- include "eyestream.containerSecurity" $root | nindent 2 }}
  command: [sh, /scripts/build.sh]
  args:
    - eyestream-engines
    - build
    - {{ default .model $model.encoder }}
    {{- if not $checkpoint.bundled }}
    - --checkpoint={{ $file }}
    {{- end }}
    - --name={{ .model }}
    {{- with $root.Values.engines.args }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - {name: ENGINE_KEY, value: {{ .key | quote }}}
    - {name: ENGINE_MODEL, value: {{ .model | quote }}}
    - {name: ENGINE_DIGEST, value: {{ $model.digest | quote }}}
    {{- if not $checkpoint.bundled }}
    - {name: ENGINE_CHECKPOINT, value: {{ $file }}}
    {{- end }}
    {{- with $checkpoint.url }}
    - {name: ENGINE_URL, value: {{ . | quote }}}
    {{- end }}
    - {name: ENGINE_SCRATCH, value: /scratch}
    - {name: ENGINE_DEADLINE_SECONDS, value: {{ $root.Values.engines.deadlineSeconds | int | quote }}}
    {{- include "eyestream.engineEnv" (dict "root" $root "gpu" $gpu) | nindent 4 }}
    - {name: HOME, value: /tmp}
    - {name: TMPDIR, value: /scratch}
  {{- if and $checkpoint.url $root.Values.engines.urlSecret.name }}
  envFrom: [{secretRef: {name: {{ $root.Values.engines.urlSecret.name }}}}]
  {{- end }}
  resources:
    {{- include "eyestream.resources" (dict "resources" $root.Values.engines.resources "gpu" $gpu) | nindent 4 }}
  volumeMounts:
    - {name: engines, mountPath: /engines}
    - {name: scripts, mountPath: /scripts, readOnly: true}
    - {name: scratch, mountPath: /scratch}
    - {name: tmp, mountPath: /tmp}
    {{- with include "eyestream.checkpointVolume" $checkpoint }}
    - {name: {{ . }}, mountPath: /checkpoints, readOnly: true}
    {{- end }}
{{- end }}

{{- /* The spec of a Job that builds one engine. Takes root, key, model (a name), kind (a name). */}}
{{- define "eyestream.engineJobSpec" -}}
{{- $root := .root }}
{{- $gpu := get $root.Values.gpus .kind }}
backoffLimit: {{ $root.Values.engines.backoffLimit }}
activeDeadlineSeconds: {{ $root.Values.engines.deadlineSeconds }}
template:
  metadata:
    labels:
      {{- include "eyestream.podLabels" (dict "root" $root "component" "engines") | nindent 6 }}
  spec:
    {{- include "eyestream.pod" (dict "root" $root "component" "engines") | nindent 4 }}
    {{- with include "eyestream.placement" (dict "root" $root "component" "engines" "gpu" $gpu "values" (dict "nodeSelector" dict "tolerations" list "priorityClassName" $root.Values.engines.priorityClassName)) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    restartPolicy: Never
    containers:
      {{- include "eyestream.buildContainer" (merge (dict "name" "build") .) | trim | nindent 6 }}
    volumes:
      {{- include "eyestream.engineVolume" $root | trim | nindent 6 }}
      {{- include "eyestream.buildVolumes" (dict "root" $root "models" (list .model)) | trim | nindent 6 }}
      - name: scripts
        configMap: {name: {{ include "eyestream.fullname" $root }}-engines}
      - name: tmp
        emptyDir: {}
{{- end }}
