{{/* What the pods have in common. Each is given (dict "root" $ "part" "relay"). */}}

{{/*
Settings that change need new pods, of those parts that read them. Keys and the fleet file do not: they are
read again. Those of the agent service are not, so their ids stand here.
*/}}
{{- define "firsthop.podMetadata" -}}
{{- $values := index .root.Values .part -}}
labels:
  {{- include "firsthop.selector" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/settings: {{ include "firsthop.settingsOf" . | sha256sum }}
  {{- if eq .part "agent" }}
  firsthop/agent-keys: {{ join " " .root.Values.agentKeys.ids | quote }}
  {{- else if eq .part "transceiver" }}
  firsthop/agent-key: {{ .root.Values.agentKeys.active | quote }}
  {{- end }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Who the pod is and where it runs. */}}
{{- define "firsthop.pod" -}}
{{- $values := index .root.Values .part -}}
serviceAccountName: {{ include "firsthop.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "firsthop.selector" $ | nindent 8 }}
  {{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if $values.affinity }}
  {{- toYaml $values.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "firsthop.selector" . | nindent 14 }}
  {{- end }}
{{- end -}}

{{- define "firsthop.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The container of a part of firsthop, but for ports and its own variables. */}}
{{- define "firsthop.container" -}}
{{- $values := index .root.Values .part -}}
{{- $image := .root.Values.image -}}
name: {{ .part }}
image: "{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ $image.pullPolicy }}
args: [{{ .part }}, --config, /etc/firsthop/settings/settings.yaml, --config, /etc/firsthop/secrets/secrets.yaml]
{{ include "firsthop.containerSecurity" . }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: {{ eq .part "transceiver" | ternary 2 1 }}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- with $values.preStopSeconds }}
lifecycle:
  preStop:
    exec: {command: [sleep, {{ . | quote }}]}
{{- end }}
volumeMounts:
  - {name: settings, mountPath: /etc/firsthop/settings, readOnly: true}
  - {name: secrets, mountPath: /etc/firsthop/secrets, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* Variables from the pod itself; those of the user come last. */}}
{{- define "firsthop.podIp" -}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end -}}

{{- define "firsthop.redisEnv" -}}
{{- $secret := .root.Values.redis.existingSecret -}}
{{- if $secret.name -}}
- name: FIRSTHOP_FLEET__STATE
  valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}}
{{- if and (eq .part "relay") .root.Values.transceiver.enabled }}
- name: FIRSTHOP_RELAY__FLOW_CACHE__URL
  valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "firsthop.volumes" -}}
volumes:
  - name: settings
    configMap: {name: {{ include "firsthop.fullname" .root }}}
  - name: secrets
    secret:
      secretName: {{ include "firsthop.secret" .root }}
      defaultMode: 0440
      items: [{key: {{ .part }}.yaml, path: secrets.yaml}]
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
{{- end -}}

{{/* Endpoints lag, calls end, and the process says goodbye: all of it fits in. */}}
{{- define "firsthop.grace" -}}
{{- $values := index .root.Values .part -}}
terminationGracePeriodSeconds: {{ add $values.preStopSeconds $values.drainSeconds 15 }}
{{- end -}}

{{- define "firsthop.rollout" -}}
{{- $values := index .root.Values .part -}}
revisionHistoryLimit: 5
{{- if not $values.autoscaling.enabled }}
replicas: {{ $values.replicas }}
{{- end }}
selector:
  matchLabels:
    {{- include "firsthop.selector" . | nindent 4 }}
{{- end -}}
