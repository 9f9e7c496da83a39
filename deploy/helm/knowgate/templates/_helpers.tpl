{{- define "knowgate.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "knowgate.selector" -}}
app.kubernetes.io/name: knowgate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "knowgate.labels" -}}
{{ include "knowgate.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "knowgate.image" -}}
image: {{ printf "%s:%s" .repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end -}}

{{/* Of every pod: nobody's root, no token of the cluster. */}}
{{- define "knowgate.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "knowgate.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Settings of the control plane; its secrets are files. */}}
{{- define "knowgate.environment" -}}
- {name: KNOWGATE_DATA_DIR, value: /var/lib/knowgate}
- {name: KNOWGATE_HOST, value: 0.0.0.0}
- {name: KNOWGATE_PORT, value: {{ .Values.api.port | quote }}}
- {name: KNOWGATE_DATABASE_URL_FILE, value: /run/secrets/knowgate/database_url}
- {name: KNOWGATE_HASH_KEY_FILE, value: /run/secrets/knowgate/hash_key}
{{- if .Values.secret.keys.signingKey }}
- {name: KNOWGATE_SIGNING_KEY_FILE, value: /run/secrets/knowgate/signing_key}
{{- end }}
{{- if .Values.secret.keys.webhookSecret }}
- {name: KNOWGATE_WEBHOOK_SECRET_FILE, value: /run/secrets/knowgate/webhook_secret}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}

{{- define "knowgate.mounts" -}}
- {name: secrets, mountPath: /run/secrets/knowgate, readOnly: true}
- {name: state, mountPath: /var/lib/knowgate}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "knowgate.secrets" -}}
- name: secrets
  secret:
    secretName: {{ .Values.secret.name }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.secret.keys.databaseUrl }}, path: database_url}
      - {key: {{ .Values.secret.keys.hashKey }}, path: hash_key}
      {{- with .Values.secret.keys.signingKey }}
      - {key: {{ . }}, path: signing_key}
      {{- end }}
      {{- with .Values.secret.keys.webhookSecret }}
      - {key: {{ . }}, path: webhook_secret}
      {{- end }}
- name: tmp
  emptyDir: {}
{{- end -}}

{{- define "knowgate.volumes" -}}
{{ include "knowgate.secrets" . }}
- name: state
  {{- if .Values.state.enabled }}
  persistentVolumeClaim:
    claimName: {{ .Values.state.existingClaim | default (printf "%s-state" (include "knowgate.name" .)) }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}
