{{/* What the chart says in firsthop's settings: addresses, ports, drain times, and who is where. */}}

{{/* Public addresses on which a relay listens: one socket for each, in the same order. */}}
{{- define "firsthop.listen" -}}
{{- $listen := list -}}
{{- range .addresses -}}
{{- $listen = append $listen (printf "%s:%v" (hasPrefix "[" . | ternary "[::]" "0.0.0.0") $.port) -}}
{{- end -}}
{{- if ne (len ($listen | uniq)) (len $listen) -}}
{{- fail (printf "%s: expected one IPv4 address, one IPv6 address, or one of each; a relay cannot tell two of one family apart" .name) -}}
{{- end -}}
{{- toJson $listen -}}
{{- end -}}

{{/* Where processes share what they know, or nothing. */}}
{{- define "firsthop.redis" -}}
{{- if .Values.redis.url -}}
{{- .Values.redis.url -}}
{{- else if .Values.redis.enabled -}}
redis://{{ include "firsthop.fullname" . }}-redis:6379/0
{{- end -}}
{{- end -}}

{{- define "firsthop.settings" -}}
{{- $given := deepCopy .Values.settings -}}
{{- $cluster := dig "transceiver" "cluster" 1 $given -}}
{{- $relay := dict
    "listen" (include "firsthop.listen" (dict "addresses" .Values.publicAddresses "port" 3478 "name" "publicAddresses") | fromJsonArray)
    "health_listen" "0.0.0.0:9478"
    "drain_seconds" (.Values.relay.drainSeconds | int)
    "workers" (include "firsthop.workers" . | int)
-}}
{{- if .Values.publicTcpAddresses -}}
{{- $_ := set $relay "tcp_listen" (include "firsthop.listen" (dict "addresses" .Values.publicTcpAddresses "port" 3443 "name" "publicTcpAddresses") | fromJsonArray) -}}
{{- end -}}
{{- if .Values.transceiver.enabled -}}
{{- $_ := set $relay "cluster" ($cluster | int) -}}
{{- end -}}
{{- if not (dig "relay" "site" 0 $given) -}}
{{- $_ := set $relay "site" 1 -}}
{{- end -}}
{{- $transceiver := dict "drain_seconds" (.Values.transceiver.drainSeconds | int) -}}
{{- if not (dig "transceiver" "handover_seconds" nil $given) -}}
{{- $_ := set $transceiver "handover_seconds" (min 30 (div (.Values.transceiver.drainSeconds | int) 2)) -}}
{{- end -}}
{{- $settings := dict
    "log_format" "json"
    "fleet" (dict "file" "/etc/firsthop/settings/fleet.yaml")
    "relay" $relay
    "transceiver" $transceiver
    "signaling" (dict "listen" "0.0.0.0:8080")
    "gateway" (dict "listen" "0.0.0.0:8080" "drain_seconds" (.Values.gateway.drainSeconds | int))
    "agent" (dict "listen" "0.0.0.0:8081" "drain_seconds" (.Values.agent.drainSeconds | int))
-}}
{{- if not (dig "steering" "trusted_proxies" nil $given) -}}
{{- $_ := set $settings "steering" (dict "trusted_proxies" (concat (list "127.0.0.0/8" "::1/128") .Values.podNetworks)) -}}
{{- end -}}
{{- if and .Values.agent.enabled (not (dig "realtime" "url" nil $given)) -}}
{{- $_ := set $settings "realtime" (dict "url" (printf "ws://%s-agent:8081/v1/realtime?model=firsthop-agent" (include "firsthop.fullname" .))) -}}
{{- end -}}
{{- with include "firsthop.redis" . -}}
{{- if not (or $.Values.redis.existingSecret.name (contains "@" .)) -}}
{{- $_ := set $settings.fleet "state" . -}}
{{- if $.Values.transceiver.enabled -}}
{{- $_ := set $relay "flow_cache" (dict "url" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml (mergeOverwrite $given $settings) -}}
{{- end -}}

{{/* What of the settings a part reads. */}}
{{- define "firsthop.settingsOf" -}}
{{- $settings := include "firsthop.settings" .root | fromYaml -}}
{{- if eq .part "relay" -}}
{{- $settings = pick $settings "relay" "fleet" "log_format" -}}
{{- else if eq .part "transceiver" -}}
{{- $settings = omit $settings "relay" "gateway" "agent" -}}
{{- else if eq .part "gateway" -}}
{{- $settings = pick $settings "gateway" "fleet" "steering" "log_format" -}}
{{- else -}}
{{- $settings = omit $settings "relay" "transceiver" "gateway" "fleet" "steering" "realtime" "pipecat" -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{- define "firsthop.workers" -}}
{{- $workers := dig "relay" "workers" 1 .Values.settings -}}
{{- if eq (toString $workers) "auto" -}}
{{- fail "settings.relay.workers: expected a number: the Service and the NetworkPolicies have a port for each, and auto would count the node's cores, not the pod's" -}}
{{- end -}}
{{- $workers | int -}}
{{- end -}}

{{- define "firsthop.shards" -}}
{{- dig "transceiver" "shards" 1 .Values.settings | int -}}
{{- end -}}

{{/*
The fleet file: what `fleet` says, or this cluster alone. Gateways find the pods of their own cluster one
by one, whatever others are told.
*/}}
{{- define "firsthop.fleet" -}}
{{- $fleet := .Values.fleet -}}
{{- $own := dig "transceiver" "cluster" 1 .Values.settings | int -}}
{{- $signaling := list (printf "http://%s-transceiver:8080" (include "firsthop.fullname" .)) -}}
{{- if or $fleet.clusters $fleet.ingresses -}}
{{- $clusters := list -}}
{{- range $fleet.clusters -}}
{{- if and $.Values.transceiver.enabled (eq (int .id) $own) -}}
{{- $clusters = append $clusters (merge (dict "signaling" $signaling) .) -}}
{{- else -}}
{{- $clusters = append $clusters . -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "clusters" $clusters "ingresses" $fleet.ingresses) -}}
{{- else -}}
{{- $name := $fleet.name | default (include "firsthop.fullname" .) -}}
clusters:
  - id: {{ $own }}
    name: {{ $name }}
    location: {{ toJson $fleet.location }}
    networks: {{ toJson .Values.podNetworks }}
    first_port: 3500
    last_port: {{ add 3499 (include "firsthop.shards" . | int) }}
    signaling: {{ toJson $signaling }}
ingresses:
  - id: {{ dig "relay" "site" 0 .Values.settings | default 1 }}
    name: {{ $name }}
    location: {{ toJson $fleet.location }}
    udp: {{ toJson .Values.publicAddresses }}
    tcp: {{ toJson .Values.publicTcpAddresses }}
{{- end -}}
{{- end -}}
