{{/* Names and labels. What takes a part is given (dict "root" $ "part" "relay"). */}}

{{- define "firsthop.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default "firsthop" -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "firsthop.partname" -}}
{{ include "firsthop.fullname" .root }}-{{ .part }}
{{- end -}}

{{- define "firsthop.selector" -}}
app.kubernetes.io/name: firsthop
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .part }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "firsthop.labels" -}}
{{ include "firsthop.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The metadata of an object of a part; `name` where it is not the part's own. */}}
{{- define "firsthop.metadata" -}}
name: {{ .name | default (include "firsthop.partname" .) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "firsthop.labels" . | nindent 2 }}
{{- end -}}

{{- define "firsthop.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "firsthop.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "firsthop.secret" -}}
{{ .Values.keys.existingSecret | default (include "firsthop.fullname" .) }}
{{- end -}}

{{/* The parts that are there and run firsthop, as a list in JSON. */}}
{{- define "firsthop.parts" -}}
{{- $parts := list -}}
{{- range $part := list "relay" "transceiver" "gateway" "agent" -}}
{{- if (index $.Values $part).enabled -}}
{{- $parts = append $parts $part -}}
{{- end -}}
{{- end -}}
{{- toJson $parts -}}
{{- end -}}

{{/* A Service for other clusters, of the port `http` of a part. */}}
{{- define "firsthop.internalService" -}}
{{- with (index .root.Values .part).internalService }}
{{- if .enabled }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "firsthop.metadata" (dict "root" $.root "part" $.part "name" (printf "%s-internal" (include "firsthop.partname" $))) | nindent 2 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .type }}
  {{- if eq .type "LoadBalancer" }}
  {{- with .loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  {{- with .loadBalancerIP }}
  loadBalancerIP: {{ . }}
  {{- end }}
  {{- end }}
  selector:
    {{- include "firsthop.selector" $ | nindent 4 }}
  ports:
    - {name: internal, port: {{ $.port }}, targetPort: http, protocol: TCP}
{{- end }}
{{- end }}
{{- end -}}
