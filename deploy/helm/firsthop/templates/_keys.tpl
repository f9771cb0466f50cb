{{/*
Which keys the Secret is to have, as an object in JSON: those of `ids` that are there already, and new
ones for those that are not. What no id names is dropped.

  there   the data of the Secret that there is, in base64
  ids     lists of ids, by the kind of key
*/}}
{{- define "firsthop.keys" -}}
{{- $keys := dict -}}
{{- range $kind, $ids := .ids -}}
{{- range $ids -}}
{{- $entry := printf "%s-%d" $kind (int .) -}}
{{- $there := index $.there $entry | default "" | b64dec -}}
{{- $_ := set $keys $entry ($there | default (randBytes 32 | b64dec | printf "%x")) -}}
{{- end -}}
{{- end -}}
{{- toJson $keys -}}
{{- end -}}

{{/* The keys of one kind by their ids, as settings have them, in JSON. */}}
{{- define "firsthop.keysById" -}}
{{- $byId := dict -}}
{{- range .ids -}}
{{- $_ := set $byId (int . | toString) (index $.keys (printf "%s-%d" $.kind (int .))) -}}
{{- end -}}
{{- toJson $byId -}}
{{- end -}}

{{/*
Settings that nobody may read, for each part those that it needs, as an object in JSON. Gateways get
no key but that of heartbeats, and agents no key of the cluster.
*/}}
{{- define "firsthop.secrets" -}}
{{- $values := .root.Values -}}
{{- $given := $values.secrets -}}
{{- $keys := .keys -}}
{{- $fleet := dict -}}
{{- if $values.fleetKeys.ids -}}
{{- $_ := set $fleet "keys" (include "firsthop.keysById" (dict "kind" "fleet-key" "ids" $values.fleetKeys.ids "keys" $keys) | fromJson) -}}
{{- $_ := set $fleet "key_id" (int $values.fleetKeys.active) -}}
{{- end -}}
{{- $cluster := dict -}}
{{- if $values.keys.ids -}}
{{- $_ := set $cluster "keys" (include "firsthop.keysById" (dict "kind" "cluster-key" "ids" $values.keys.ids "keys" $keys) | fromJson) -}}
{{- $_ := set $cluster "key_id" (int $values.keys.active) -}}
{{- end -}}
{{- $relay := dict -}}
{{- $redis := include "firsthop.redis" .root -}}
{{- if contains "@" $redis -}}
{{- $_ := set $fleet "state" $redis -}}
{{- if $values.transceiver.enabled -}}
{{- $_ := set $relay "flow_cache" (dict "url" $redis) -}}
{{- end -}}
{{- end -}}
{{- $signaling := dict -}}
{{- if $values.apiKeys.ids -}}
{{- $_ := set $signaling "api_keys" (include "firsthop.keysById" (dict "kind" "api-key" "ids" $values.apiKeys.ids "keys" $keys) | fromJson | values | sortAlpha) -}}
{{- end -}}
{{- if $values.clientSecretKeys.ids -}}
{{- $_ := set $signaling "secret_keys" (include "firsthop.keysById" (dict "kind" "client-secret-key" "ids" $values.clientSecretKeys.ids "keys" $keys) | fromJson) -}}
{{- $_ := set $signaling "secret_key_id" (int $values.clientSecretKeys.active) -}}
{{- end -}}
{{- $agent := dict -}}
{{- $realtime := dict -}}
{{- if and $values.agent.enabled $values.agentKeys.ids -}}
{{- $shown := include "firsthop.keysById" (dict "kind" "agent-key" "ids" $values.agentKeys.ids "keys" $keys) | fromJson -}}
{{- $_ := set $agent "api_keys" ($shown | values | sortAlpha) -}}
{{- if not (dig "realtime" "url" nil $values.settings) -}}
{{- $_ := set $realtime "api_key" (index $shown (int $values.agentKeys.active | toString)) -}}
{{- end -}}
{{- end -}}
{{- $own := dict
    "relay" (mergeOverwrite (dict "fleet" $fleet "relay" $relay) $cluster)
    "transceiver" (mergeOverwrite (dict "fleet" $fleet "signaling" $signaling "realtime" $realtime) $cluster)
    "gateway" (dict "fleet" $fleet)
    "agent" (dict "agent" $agent)
-}}
{{- $needed := dict
    "relay" (list "keys" "key_id" "edge_keys" "fleet" "relay")
    "transceiver" (list "keys" "key_id" "fleet" "signaling" "realtime" "pipecat")
    "gateway" (list "fleet" "gateway")
    "agent" (list "agent")
-}}
{{- $files := dict -}}
{{- range $part, $names := $needed -}}
{{- $file := deepCopy (index $own $part) -}}
{{- range $name := $names -}}
{{- if hasKey $given $name -}}
{{- $file = mergeOverwrite $file (dict $name (index $given $name) | deepCopy) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $files $part $file -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}
