{{/* Pods of this release by their parts, as peers of a NetworkPolicy. */}}
{{- define "firsthop.peer" -}}
- podSelector:
    matchLabels:
      {{- include "firsthop.selector" (dict "root" .root) | nindent 6 }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ toJson .parts }}}
{{- end -}}

{{/* `count` UDP ports from `port` on. */}}
{{- define "firsthop.udpPorts" -}}
{{- if gt .count 1 -}}
- {port: {{ .port }}, endPort: {{ add .port .count -1 }}, protocol: UDP}
{{- else -}}
- {port: {{ .port }}, protocol: UDP}
{{- end -}}
{{- end -}}
