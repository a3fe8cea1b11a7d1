{{- define "kumofs.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (default .Chart.Name .Values.nameOverride) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Selector labels: (dict "top" $ "role" "manager") */ -}}
{{- define "kumofs.selector" -}}
app.kubernetes.io/name: {{ default .top.Chart.Name .top.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "kumofs.labels" -}}
{{ include "kumofs.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .top.Chart.Name .top.Chart.Version }}
{{- with .top.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kumofs.image" -}}
image: "{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- define "kumofs.secretName" -}}
{{- if .Values.clusterSecret.existing -}}
{{- .Values.clusterSecret.existing -}}
{{- else if .Values.clusterSecret.value -}}
{{- include "kumofs.fullname" . }}-secret
{{- end -}}
{{- end -}}

{{- /* The managers' addresses: each has a Service. Not the names alone: /etc/hosts of a pod has its own, with the pod's address. */ -}}
{{- define "kumofs.managers" -}}
{{- $names := list -}}
{{- range $i := until (int .Values.manager.replicas) -}}
{{- $names = append $names (printf "%s-manager-%d.%s.svc" (include "kumofs.fullname" $) $i $.Release.Namespace) -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{- define "kumofs.secretArgs" -}}
{{- if include "kumofs.secretName" . }}
- --cluster-secret-file
- /etc/kumofs/cluster/secret
{{- end }}
{{- end -}}

{{- define "kumofs.secretMount" -}}
{{- if include "kumofs.secretName" . }}
- name: cluster-secret
  mountPath: /etc/kumofs/cluster
  readOnly: true
{{- end }}
{{- end -}}

{{- define "kumofs.secretVolume" -}}
{{- with include "kumofs.secretName" . }}
- name: cluster-secret
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "kumofs.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "kumofs.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* (dict "top" $ "port" "main") */ -}}
{{- define "kumofs.probes" -}}
# After a crash the log is read again before the port answers. Not /healthz: it fails while the disk is full, which no restart mends.
startupProbe:
  httpGet: {path: /metrics, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 180
readinessProbe:
  httpGet: {path: {{ .top.Values.readinessPath }}, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "kumofs.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
