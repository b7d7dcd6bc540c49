{{- /* The folder of one engine in the cache: encoder, kind of GPU, TensorRT. Takes root, model, gpu (a kind's values). */}}
{{- define "eyestream.engineKey" -}}
{{- $digest := get (get .root.Values.models .model) "digest" | trunc 16 }}
{{- if .gpu.resource }}
{{- $product := default "gpu" .gpu.product | lower | trimSuffix "-shared" }}
{{- if and .gpu.migProfile (not (contains "-mig-" $product)) }}{{ $product = printf "%s-mig-%s" $product .gpu.migProfile }}{{ end }}
{{- printf "%s/%s-cc%s-trt%s" $digest $product .gpu.computeCapability .root.Values.engines.tensorrt }}
{{- else }}
{{- printf "%s/cpu" $digest }}
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

{{- /* The spec of a Job that builds one engine. Takes root, key, model (a name), kind (a name). */}}
{{- define "eyestream.engineJobSpec" -}}
{{- $root := .root }}
{{- $gpu := get $root.Values.gpus .kind }}
{{- $model := get $root.Values.models .model }}
{{- $checkpoint := $model.checkpoint }}
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
    {{- if $checkpoint.url }}
    initContainers:
      - name: fetch
        image: {{ include "eyestream.image" (dict "root" $root "image" "engines") }}
        imagePullPolicy: {{ $root.Values.images.pullPolicy }}
        {{- include "eyestream.containerSecurity" $root | nindent 8 }}
        command: [python, /scripts/fetch.py, {{ $checkpoint.url | quote }}, /scratch/checkpoint]
        {{- with $root.Values.engines.urlSecret.name }}
        envFrom: [{secretRef: {name: {{ . }}}}]
        {{- end }}
        resources:
          requests: {cpu: 100m, memory: 256Mi}
          limits: {memory: 1Gi}
        volumeMounts:
          - {name: scripts, mountPath: /scripts, readOnly: true}
          - {name: scratch, mountPath: /scratch}
          - {name: tmp, mountPath: /tmp}
    {{- end }}
    containers:
      - name: build
        image: {{ include "eyestream.image" (dict "root" $root "image" "engines") }}
        imagePullPolicy: {{ $root.Values.images.pullPolicy }}
        {{- include "eyestream.containerSecurity" $root | nindent 8 }}
        command: [sh, /scripts/build.sh]
        args:
          - eyestream-engines
          - build
          - {{ default .model $model.encoder }}
          {{- if $checkpoint.url }}
          - --checkpoint=/scratch/checkpoint
          {{- else if not $checkpoint.bundled }}
          - --checkpoint=/checkpoints/{{ $checkpoint.path }}
          {{- end }}
          - --name={{ .model }}
          - --output=$(ENGINE_PARTIAL)/repository
          {{- with $root.Values.engines.args }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        env:
          - name: POD_UID
            valueFrom: {fieldRef: {fieldPath: metadata.uid}}
          - {name: ENGINE_KEY, value: {{ .key | quote }}}
          - {name: ENGINE_MODEL, value: {{ .model | quote }}}
          - {name: ENGINE_DIGEST, value: {{ $model.digest | quote }}}
          - {name: ENGINE_PARTIAL, value: /engines/.partial-$(POD_UID)}
          {{- if not $checkpoint.bundled }}
          - {name: ENGINE_CHECKPOINT, value: {{ ternary "/scratch/checkpoint" (printf "/checkpoints/%s" $checkpoint.path) (not (empty $checkpoint.url)) }}}
          {{- end }}
          {{- include "eyestream.engineEnv" (dict "root" $root "gpu" $gpu) | nindent 10 }}
          - {name: HOME, value: /tmp}
        resources:
          {{- include "eyestream.resources" (dict "resources" $root.Values.engines.resources "gpu" $gpu) | nindent 10 }}
        volumeMounts:
          - {name: engines, mountPath: /engines}
          - {name: scripts, mountPath: /scripts, readOnly: true}
          - {name: scratch, mountPath: /scratch}
          - {name: tmp, mountPath: /tmp}
          {{- if or $checkpoint.claim $checkpoint.image }}
          - {name: checkpoints, mountPath: /checkpoints, readOnly: true}
          {{- end }}
    volumes:
      - name: engines
        persistentVolumeClaim: {claimName: {{ include "eyestream.engineClaim" $root }}}
      - name: scripts
        configMap: {name: {{ include "eyestream.fullname" $root }}-engines}
      - name: scratch
        emptyDir: {}
      - name: tmp
        emptyDir: {}
      {{- if $checkpoint.claim }}
      - name: checkpoints
        persistentVolumeClaim: {claimName: {{ $checkpoint.claim }}, readOnly: true}
      {{- else if $checkpoint.image }}
      - name: checkpoints
        image: {reference: {{ $checkpoint.image | quote }}, pullPolicy: {{ $root.Values.images.pullPolicy }}}
      {{- end }}
{{- end }}
