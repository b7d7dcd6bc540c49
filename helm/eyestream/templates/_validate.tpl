{{- /* Every combination that would render and not work, refused with what to write. Called by the files that look things up. */}}
{{- define "eyestream.validate" -}}
{{- include "eyestream.validateName" . }}
{{- include "eyestream.validateKafka" . }}
{{- include "eyestream.validateRedis" . }}
{{- include "eyestream.validateModels" . }}
{{- include "eyestream.validateTriton" . }}
{{- include "eyestream.validateEngines" . }}
{{- include "eyestream.validateScreening" . }}
{{- include "eyestream.validateWeb" . }}
{{- include "eyestream.validateImages" . }}
{{- end }}

{{- define "eyestream.validateName" -}}
{{- $name := include "eyestream.fullname" . }}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) }}
{{- fail (printf "the release's objects would be called %s-…: Services begin with a letter and have lower-case letters, digits and dashes. Set fullnameOverride, or name the release otherwise." $name) }}
{{- end }}
{{- end }}

{{- define "eyestream.validateWeb" -}}
{{- if .Values.web.enabled }}
{{- $web := .Values.settings.web }}
{{- if and (not .Values.web.keysSecret.name) (not $web.issuer) }}
{{- fail "web.enabled is true and nobody could be let in: name the Secret of your API keys in web.keysSecret.name, or your OpenID provider in settings.web.issuer." }}
{{- end }}
{{- if or (lt (int $web.port) 1024) (eq (int $web.port) (int .Values.monitoring.port)) }}
{{- fail (printf "settings.web.port is %d: write a port from 1024 on, since the pods have no rights, other than monitoring.port (%d)." (int $web.port) (int .Values.monitoring.port)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "eyestream.validateKafka" -}}
{{- $kafka := .Values.kafka }}
{{- $bootstrap := .Values.settings.kafka.bootstrap }}
{{- if not $bootstrap }}
{{- fail "settings.kafka.bootstrap is empty: write host:port of your brokers, e.g. kafka-bootstrap.kafka.svc:9093." }}
{{- end }}
{{- range splitList "," $bootstrap }}
{{- if not (regexMatch "^[^:/ ]+:[0-9]+$" (trim .)) }}
{{- fail (printf "settings.kafka.bootstrap holds %q: write host:port, separated by commas." (trim .)) }}
{{- end }}
{{- end }}
{{- range $option := list "security_protocol" "ssl_cafile" "ssl_certfile" "ssl_keyfile" "sasl_mechanism" "sasl_plain_username" "sasl_plain_password" }}
{{- if hasKey $.Values.settings.kafka.security $option }}
{{- fail (printf "settings.kafka.security.%s is made by the chart: set kafka.tls and kafka.sasl instead, which mount the secrets too." $option) }}
{{- end }}
{{- end }}
{{- if hasKey .Values.settings.kafka.security "ssl_password" }}
{{- fail "settings.kafka.security.ssl_password would stand in a ConfigMap for everybody to read: keep the key unencrypted in the Secret of kafka.tls.certSecret." }}
{{- end }}
{{- if and (or $kafka.tls.caSecret.name $kafka.tls.certSecret.name) (not $kafka.tls.enabled) }}
{{- fail "kafka.tls names secrets and is not enabled: set kafka.tls.enabled to true." }}
{{- end }}
{{- if and $kafka.sasl.mechanism (not $kafka.sasl.secret.name) }}
{{- fail (printf "kafka.sasl.mechanism is %s and kafka.sasl.secret.name is empty: name the Secret that holds the password." $kafka.sasl.mechanism) }}
{{- end }}
{{- if and $kafka.sasl.secret.name (not $kafka.sasl.mechanism) }}
{{- fail "kafka.sasl.secret.name is set and kafka.sasl.mechanism is empty: choose PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512." }}
{{- end }}
{{- if and (eq $kafka.sasl.mechanism "PLAIN") (not $kafka.tls.enabled) }}
{{- fail "kafka.sasl.mechanism PLAIN would send the password in the clear: set kafka.tls.enabled to true, or use SCRAM-SHA-512." }}
{{- end }}
{{- if and (or $kafka.strimzi.topic.create $kafka.strimzi.user.create) (not $kafka.strimzi.cluster) }}
{{- fail "kafka.strimzi.cluster is empty: name the Kafka object that the topic or the user is made in." }}
{{- end }}
{{- if and $kafka.strimzi.user.create (eq $kafka.strimzi.user.authentication "tls") (not $kafka.tls.certSecret.name) }}
{{- fail (printf "kafka.strimzi.user.authentication is tls and kafka.tls.certSecret.name is empty: Strimzi writes the certificate to the Secret %s-screening; name it there and set kafka.tls.enabled." (include "eyestream.fullname" .)) }}
{{- end }}
{{- if and $kafka.strimzi.user.create (eq $kafka.strimzi.user.authentication "scram-sha-512") (ne $kafka.sasl.mechanism "SCRAM-SHA-512") }}
{{- fail (printf "kafka.strimzi.user.authentication is scram-sha-512: set kafka.sasl.mechanism to SCRAM-SHA-512, and kafka.sasl.username and kafka.sasl.secret.name to %s-screening." (include "eyestream.fullname" .)) }}
{{- end }}
{{- end }}

{{- define "eyestream.validateRedis" -}}
{{- with .Values.redis }}
{{- if and (not .urlSecret.name) (not .dev.enabled) }}
{{- fail "redis.urlSecret.name is empty: name the Secret whose key `url` holds redis://… or rediss://…, or try the chart out with redis.dev.enabled." }}
{{- end }}
{{- if and .urlSecret.name .dev.enabled }}
{{- fail "redis.urlSecret.name and redis.dev.enabled are both set: results can go to one Redis only; turn redis.dev.enabled off." }}
{{- end }}
{{- end }}
{{- if and .Values.redis.dev.enabled .Values.settings.redis.cluster }}
{{- fail "redis.dev.enabled starts a single server and settings.redis.cluster is true: set settings.redis.cluster to false." }}
{{- end }}
{{- if and .Values.redis.dev.enabled .Values.settings.redis.wait_replicas }}
{{- fail "redis.dev.enabled starts a single server and settings.redis.wait_replicas waits for copies: set it to 0." }}
{{- end }}
{{- if and (eq .Values.banks.source "claim") (not .Values.banks.claim) }}
{{- fail "banks.claim is empty: name the PersistentVolumeClaim that holds your published banks (`eyestream bank build PROGRAMME --activate`), or set banks.source to image." }}
{{- end }}
{{- if and (eq .Values.banks.source "image") (not (regexMatch "@sha256:[0-9a-f]{64}$" .Values.banks.image)) }}
{{- fail "banks.source is image and banks.image has no digest: write registry/repository@sha256:…, since banks decide what is referred." }}
{{- end }}
{{- end }}

{{- define "eyestream.validateModels" -}}
{{- range $name, $model := .Values.models }}
{{- $sources := 0 }}
{{- with $model.checkpoint }}
{{- range $source := list .bundled .claim .image .url }}{{ if $source }}{{ $sources = add1 $sources }}{{ end }}{{ end }}
{{- end }}
{{- if ne (int $sources) 1 }}
{{- fail (printf "models.%s.checkpoint names %d sources: write exactly one of `bundled: true`, `claim: NAME`, `image: REFERENCE` or `url: URL`." $name (int $sources)) }}
{{- end }}
{{- if and (or $model.checkpoint.claim $model.checkpoint.image) (not $model.checkpoint.path) }}
{{- fail (printf "models.%s.checkpoint.path is empty: write the checkpoint's file inside the claim or image." $name) }}
{{- end }}
{{- if and $model.checkpoint.url $.Values.networkPolicy.enabled (not $.Values.networkPolicy.extraEgress.engines) (ne $.Values.engines.mode "prebuilt") }}
{{- fail (printf "models.%s.checkpoint.url is downloaded and the network policy lets builds reach nothing: write the rule that allows it to networkPolicy.extraEgress.engines." $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "eyestream.validateTriton" -}}
{{- $wanted := .Values.settings.triton.model }}
{{- if not $wanted }}
{{- fail "settings.triton.model is empty: write the name of the model that the line uses, one of `models`." }}
{{- end }}
{{- if and .Values.triton.external .Values.triton.pools }}
{{- fail "triton.external and triton.pools are both set: workers call one Triton; remove the pools or the address." }}
{{- end }}
{{- if not (or .Values.triton.external .Values.triton.pools) }}
{{- fail "triton.pools is empty: write a pool, e.g. `pools: {main: {gpu: h100, models: [NAME]}}`, or the address of another Triton in triton.external." }}
{{- end }}
{{- if and .Values.triton.external (not (regexMatch "^[^:/ ]+:[0-9]+$" .Values.triton.external)) }}
{{- fail (printf "triton.external is %q: write host:port of gRPC, without a scheme." .Values.triton.external) }}
{{- end }}
{{- $served := false }}
{{- range $name, $pool := .Values.triton.pools }}
{{- include "eyestream.validatePool" (dict "root" $ "name" $name "pool" $pool) }}
{{- if has $wanted $pool.models }}{{ $served = true }}{{ end }}
{{- end }}
{{- if and .Values.triton.pools (not $served) }}
{{- fail (printf "settings.triton.model is %q and no pool serves it: add it to `models` of a pool in triton.pools." $wanted) }}
{{- end }}
{{- end }}

{{- /* One pool. Takes root, name and pool as the user wrote it. */}}
{{- define "eyestream.validatePool" -}}
{{- $name := .name }}
{{- $root := .root }}
{{- $gpu := get $root.Values.gpus .pool.gpu }}
{{- if not $gpu }}
{{- fail (printf "triton.pools.%s.gpu is %q, which gpus does not have: it has %s. Add the kind to gpus." $name .pool.gpu (keys $root.Values.gpus | sortAlpha | join ", ")) }}
{{- end }}
{{- range .pool.models }}
{{- $service := printf "%s-grpc-%s" (include "eyestream.fullname" $root) . }}
{{- if gt (len $service) 63 }}
{{- fail (printf "models.%s: its Service would be called %s, which has %d characters and may have 63: shorten the model's name, or set fullnameOverride." . $service (len $service)) }}
{{- end }}
{{- if not (hasKey $root.Values.models .) }}
{{- fail (printf "triton.pools.%s.models names %q, which models does not have: it has %s." $name . (default "none" (keys $root.Values.models | sortAlpha | join ", "))) }}
{{- end }}
{{- end }}
{{- if and $gpu.resource (not $gpu.computeCapability) }}
{{- fail (printf "gpus.%s.computeCapability is empty: write it, e.g. \"8.9\"; an engine runs on no other." .pool.gpu) }}
{{- end }}
{{- if and $gpu.resource (not $gpu.product) }}
{{- fail (printf "gpus.%s.product is empty: write the node label nvidia.com/gpu.product (`kubectl get nodes -L nvidia.com/gpu.product`)." .pool.gpu) }}
{{- end }}
{{- if and (regexMatch "/mig-" $gpu.resource) (not $gpu.migProfile) }}
{{- fail (printf "gpus.%s.resource is %s and migProfile is empty: write the profile, e.g. 1g.10gb; an engine belongs to one slice size." .pool.gpu $gpu.resource) }}
{{- end }}
{{- if and (regexMatch "/mig-" $gpu.resource) $gpu.migProfile (not (hasSuffix (printf "/mig-%s" $gpu.migProfile) $gpu.resource)) }}
{{- fail (printf "gpus.%s.resource is %s and migProfile is %s: they must name the same slice." .pool.gpu $gpu.resource $gpu.migProfile) }}
{{- end }}
{{- if and (regexMatch "-MIG-" (default "" $gpu.product)) (not $gpu.migProfile) }}
{{- fail (printf "gpus.%s.product is %s and migProfile is empty: write the profile, e.g. 1g.10gb; an engine belongs to one slice size." .pool.gpu $gpu.product) }}
{{- end }}
{{- if and (regexMatch "(shared|/mig-)" $gpu.resource) (gt (int (default 1 $gpu.count)) 1) }}
{{- fail (printf "gpus.%s.count is %d: a pod takes one share or slice (%s); several would not be one larger GPU." .pool.gpu (int $gpu.count) $gpu.resource) }}
{{- end }}
{{- $merged := mergeOverwrite (deepCopy $root.Values.triton.defaults) .pool }}
{{- if and (eq (toString $merged.strategy.maxSurge | trimSuffix "%") "0") (eq (toString $merged.strategy.maxUnavailable | trimSuffix "%") "0") }}
{{- fail (printf "triton.pools.%s.strategy: maxSurge and maxUnavailable are both 0, so no rollout could ever begin; set maxUnavailable to 1." $name) }}
{{- end }}
{{- with $merged.autoscaling }}
{{- if and .enabled (not .prometheus) }}
{{- fail (printf "triton.pools.%s.autoscaling is enabled and its prometheus is empty: write the address that KEDA reads queue times from." $name) }}
{{- end }}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) }}
{{- fail (printf "triton.pools.%s.autoscaling: maxReplicas %d is below minReplicas %d." $name (int .maxReplicas) (int .minReplicas)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "eyestream.validateEngines" -}}
{{- $jobs := has .Values.engines.mode (list "job" "jobset") }}
{{- with .Values.engines }}
{{- if and .cache.perPod (ne .mode "in-place") }}
{{- fail (printf "engines.cache.perPod is true and engines.mode is %s: only a pod that builds can fill its own cache; set engines.mode to in-place, or perPod to false." .mode) }}
{{- end }}
{{- if and .cache.perPod .cache.claim }}
{{- fail (printf "engines.cache.perPod is true and engines.cache.claim is %s: a cache of each pod's own is no claim; remove one of the two." .cache.claim) }}
{{- end }}
{{- if and $.Values.triton.pools (not .cache.claim) (not .cache.perPod) (not (has "ReadWriteMany" .cache.accessModes)) (not .cache.singleNode) }}
{{- fail "engines.cache.accessModes has no ReadWriteMany: builders and Triton run on several nodes. Use a storage class that has it, set engines.cache.perPod to true so that each pod builds for itself, or set engines.cache.singleNode to true on a cluster of one node." }}
{{- end }}
{{- if and (eq .mode "prebuilt") (not .cache.claim) $.Values.triton.pools }}
{{- fail "engines.mode is prebuilt and engines.cache.claim is empty: name the claim that was filled with engines." }}
{{- end }}
{{- if and (not $jobs) .queue }}
{{- fail (printf "engines.queue is set and engines.mode is %s: only Jobs can queue; set engines.mode to job or jobset, or remove engines.queue." .mode) }}
{{- end }}
{{- if and (not $jobs) .priorityClassName }}
{{- fail (printf "engines.priorityClassName is set and engines.mode is %s: only Jobs have it; set engines.mode to job or jobset, or remove it, as a pod of Triton that builds needs no second GPU." .mode) }}
{{- end }}
{{- if and (ne .mode "prebuilt") .cache.claim }}
{{- $claim := .cache.claim }}
{{- range $name, $model := $.Values.models }}
{{- if eq (default "" $model.checkpoint.claim) $claim }}
{{- fail (printf "models.%s.checkpoint.claim and engines.cache.claim are both %s: Kubernetes mounts no claim twice in one pod; put checkpoints on a claim of their own." $name $claim) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "eyestream.validateScreening" -}}
{{- range .Values.settings.pictures.references }}
{{- if not (regexMatch "^((s3|gs|abfs|file)://|/)[^ ]" .) }}
{{- fail (printf "settings.pictures.references holds %q: write s3://…, gs://… or abfs://…, or the absolute path of a folder; over http a store could point anywhere." .) }}
{{- end }}
{{- end }}
{{- $serve := .Values.settings.serve }}
{{- $partitions := int .Values.kafka.partitions }}
{{- if gt (int $serve.replicas) $partitions }}
{{- fail (printf "settings.serve.replicas is %d and kafka.partitions is %d: a worker without a partition does nothing; lower the first or add partitions." (int $serve.replicas) $partitions) }}
{{- end }}
{{- if $serve.max_replicas }}
{{- if gt (int $serve.max_replicas) $partitions }}
{{- fail (printf "settings.serve.max_replicas is %d and kafka.partitions is %d: a worker without a partition does nothing; lower the first or add partitions." (int $serve.max_replicas) $partitions) }}
{{- end }}
{{- if lt (int $serve.max_replicas) (int $serve.replicas) }}
{{- fail (printf "settings.serve.max_replicas is %d, below settings.serve.replicas %d." (int $serve.max_replicas) (int $serve.replicas)) }}
{{- end }}
{{- end }}
{{- with .Values.screening }}
{{- if and .keda.enabled (ne .host "plain") }}
{{- fail "screening.keda.enabled is for screening.host plain: a RayService has no scale that KEDA could set, and Ray Serve follows the lag by itself; turn KEDA off." }}
{{- end }}
{{- if and .keda.enabled (not $serve.max_replicas) }}
{{- fail "screening.keda.enabled is true and settings.serve.max_replicas is empty: write the most workers, at most kafka.partitions." }}
{{- end }}
{{- if and (eq .host "plain") $serve.max_replicas (not .keda.enabled) }}
{{- fail "settings.serve.max_replicas is set and nothing scales a plain Deployment: set screening.keda.enabled to true, or remove max_replicas." }}
{{- end }}
{{- if and (eq (toString .strategy.maxSurge | trimSuffix "%") "0") (eq (toString .strategy.maxUnavailable | trimSuffix "%") "0") }}
{{- fail "screening.strategy: maxSurge and maxUnavailable are both 0, so no rollout could ever begin; set one to 1." }}
{{- end }}
{{- end }}
{{- if and (eq .Values.screening.host "ray") (eq .Values.ray.auth "token") (semverCompare "<2.52.0-0" .Values.ray.version) }}
{{- fail (printf "ray.version is %s, and Ray has tokens from 2.52.0 on: use an image with a newer Ray, or set ray.auth to disabled." .Values.ray.version) }}
{{- end }}
{{- if and .Values.ray.gcs.redisAddress (not (regexMatch "^(rediss?://)?[^:/ ]+:[0-9]+$" .Values.ray.gcs.redisAddress)) }}
{{- fail (printf "ray.gcs.redisAddress is %q: write host:port, with rediss:// before it for TLS and nothing behind it." .Values.ray.gcs.redisAddress) }}
{{- end }}
{{- if and .Values.ray.gcs.passwordSecret.name (not .Values.ray.gcs.redisAddress) }}
{{- fail "ray.gcs.passwordSecret.name is set and ray.gcs.redisAddress is empty: write host:port of the Redis that keeps Ray's state." }}
{{- end }}
{{- end }}

{{- define "eyestream.validateImages" -}}
{{- if and (semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version) (eq .Values.banks.source "image") }}
{{- fail (printf "banks.source is image, and image volumes need Kubernetes 1.35, or 1.33 with the feature gate ImageVolume; this is %s. Use banks.source claim." .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- range $name, $model := .Values.models }}
{{- if and $model.checkpoint.image (semverCompare "<1.33.0-0" $.Capabilities.KubeVersion.Version) }}
{{- fail (printf "models.%s.checkpoint.image is an image volume, which needs Kubernetes 1.35, or 1.33 with the feature gate ImageVolume; this is %s. Use a claim." $name $.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- end }}
{{- end }}
