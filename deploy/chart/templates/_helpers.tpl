{{/* The labels of everything; call with the component's name and the root: (list "agent" $) */}}
{{- define "mica.labels" -}}
{{ include "mica.selector" . }}
app.kubernetes.io/version: {{ (index . 1).Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mica
app.kubernetes.io/managed-by: {{ (index . 1).Release.Service }}
helm.sh/chart: {{ (index . 1).Chart.Name }}-{{ (index . 1).Chart.Version }}
{{- end }}

{{- define "mica.selector" -}}
app.kubernetes.io/name: mica
app.kubernetes.io/instance: {{ (index . 1).Release.Name }}
app.kubernetes.io/component: {{ index . 0 }}
{{- end }}

{{/* The reference of an image; call with (list $.Values.agent.image $) */}}
{{- define "mica.image" -}}
{{ (index . 0).repository }}:{{ (index . 0).tag | default (index . 1).Chart.AppVersion }}
{{- end }}

{{/* Which version of MutatingAdmissionPolicy the API server serves; empty: none. */}}
{{- define "mica.policyApi" -}}
{{- range list "v1" "v1beta1" -}}
{{- if $.Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/%s/MutatingAdmissionPolicy" .) -}}
admissionregistration.k8s.io/{{ . }}{{ break }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* policy, webhook or none. */}}
{{- define "mica.admission" -}}
{{- if ne .Values.admission.mode "auto" -}}
{{ .Values.admission.mode }}
{{- else -}}
{{ empty (include "mica.policyApi" .) | ternary "webhook" "policy" }}
{{- end -}}
{{- end }}

{{/* The user name under which the coordinator acts. */}}
{{- define "mica.coordinatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:mica-coordinator
{{- end }}

{{/* Pods that live in managed namespaces. */}}
{{- define "mica.managedNamespaces" -}}
namespaceSelector:
  matchExpressions: [{key: {{ .Values.namespaceLabel | quote }}, operator: Exists}]
{{- end }}
