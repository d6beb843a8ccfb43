{{- define "millrace.name" -}}
{{- printf "%s-operator" (.Release.Name | trunc 40 | trimSuffix "-") -}}
{{- end -}}

{{- define "millrace.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "millrace.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "millrace.selector" -}}
app.kubernetes.io/name: millrace-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: millrace
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "millrace.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{/* What the operator may do in the namespaces it looks after. Each verb is used: caches list and watch; server-side apply
     is create + patch; what is not in the spec any more is deleted. Nothing is read one by one, so `get` is absent. */}}
{{- define "millrace.rules" -}}
- apiGroups: [millrace.dev]
  resources: [kafkaclusters]
  verbs: [list, watch]
- apiGroups: [millrace.dev]
  resources: [kafkatopics]
  # patch: the finalizer.
  verbs: [list, watch, patch]
- apiGroups: [millrace.dev]
  resources: [kafkaclusters/status, kafkatopics/status]
  verbs: [patch]
- apiGroups: [millrace.dev]
  resources: [kafkaclusters/finalizers]
  # Exception, used by no request: the admission plug-in OwnerReferencesPermissionEnforcement asks for it when children
  # name their owner with blockOwnerDeletion.
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  # delete: the broker services of a nodeport listener that was removed.
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts]
  verbs: [list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  # delete: a restart.
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  # patch: a larger size, and that the cluster whose data they have was formed.
  verbs: [list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
