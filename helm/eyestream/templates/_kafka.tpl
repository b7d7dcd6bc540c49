{{- define "eyestream.kafkaFiles" -}}/etc/eyestream/kafka{{- end }}

{{- /* The secrets of Kafka as files, the items of a projected volume; empty when there are none. */}}
{{- define "eyestream.kafkaSources" -}}
{{- $kafka := .Values.kafka }}
{{- if $kafka.tls.enabled }}
{{- with $kafka.tls.caSecret }}
{{- if .name }}
- secret:
    name: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- with $kafka.tls.certSecret }}
{{- if .name }}
- secret:
    name: {{ .name }}
    items: [{key: {{ .certKey }}, path: client.crt}, {key: {{ .keyKey }}, path: client.key}]
{{- end }}
{{- end }}
{{- end }}
{{- if $kafka.sasl.mechanism }}
{{- with $kafka.sasl.secret }}
- secret:
    name: {{ .name }}
    items: [{{ if not $kafka.sasl.username }}{key: {{ .usernameKey }}, path: username}, {{ end }}{key: {{ .passwordKey }}, path: password}]
{{- end }}
{{- end }}
{{- end }}

{{- /* kafka-python's options that are no secret, as a dict in JSON. */}}
{{- define "eyestream.kafkaSecurity" -}}
{{- $kafka := .Values.kafka }}
{{- $files := include "eyestream.kafkaFiles" . }}
{{- $security := dict }}
{{- if and $kafka.tls.enabled $kafka.sasl.mechanism }}
{{- $_ := set $security "security_protocol" "SASL_SSL" }}
{{- else if $kafka.tls.enabled }}
{{- $_ := set $security "security_protocol" "SSL" }}
{{- else if $kafka.sasl.mechanism }}
{{- $_ := set $security "security_protocol" "SASL_PLAINTEXT" }}
{{- end }}
{{- if $kafka.tls.enabled }}
{{- if $kafka.tls.caSecret.name }}{{ $_ := set $security "ssl_cafile" (printf "%s/ca.crt" $files) }}{{ end }}
{{- if $kafka.tls.certSecret.name }}
{{- $_ := set $security "ssl_certfile" (printf "%s/client.crt" $files) }}
{{- $_ := set $security "ssl_keyfile" (printf "%s/client.key" $files) }}
{{- end }}
{{- end }}
{{- with $kafka.sasl.mechanism }}{{ $_ := set $security "sasl_mechanism" . }}{{ end }}
{{- if and $kafka.sasl.mechanism $kafka.sasl.username }}{{ $_ := set $security "sasl_plain_username" $kafka.sasl.username }}{{ end }}
{{- toJson $security }}
{{- end }}

{{- /* kafka-python's options that are read from files, as a dict in JSON. */}}
{{- define "eyestream.kafkaSecurityFiles" -}}
{{- $files := include "eyestream.kafkaFiles" . }}
{{- $found := dict }}
{{- with .Values.kafka.sasl }}
{{- if .mechanism }}
{{- $_ := set $found "sasl_plain_password" (printf "%s/password" $files) }}
{{- if not .username }}{{ $_ := set $found "sasl_plain_username" (printf "%s/username" $files) }}{{ end }}
{{- end }}
{{- end }}
{{- toJson $found }}
{{- end }}

{{- /* Ports of the brokers, from the values or from settings.kafka.bootstrap, as a list in JSON. */}}
{{- define "eyestream.kafkaPorts" -}}
{{- if .Values.networkPolicy.kafka.ports }}
{{- toJson .Values.networkPolicy.kafka.ports }}
{{- else }}
{{- $ports := list }}
{{- range splitList "," .Values.settings.kafka.bootstrap }}
{{- $ports = append $ports (splitList ":" (trim .) | last | int) }}
{{- end }}
{{- toJson (uniq $ports) }}
{{- end }}
{{- end }}
