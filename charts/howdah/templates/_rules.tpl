{{/* What the operator may do in the namespaces that it watches. Every rule says what for. */}}
{{- define "howdah.rules" -}}
# Its own kinds: what is declared is watched; finalizers are set where something must be undone.
- apiGroups: [howdah.dev]
  resources: [postgresinstances, postgrestunings, tuningtrials]
  verbs: [get, list, watch, patch, update]
# What it found and does is written to their status.
- apiGroups: [howdah.dev]
  resources: [postgresinstances/status, postgrestunings/status, tuningtrials/status]
  verbs: [get, patch, update]
# Owner references that block deletion need this where the cluster checks them.
- apiGroups: [howdah.dev]
  resources: [postgresinstances/finalizers, postgrestunings/finalizers, tuningtrials/finalizers]
  verbs: [update]
# A tuning creates a trial for each configuration that it measures, and deletes those of an abandoned session.
- apiGroups: [howdah.dev]
  resources: [tuningtrials]
  verbs: [create, delete]
# Connections are read from the Secrets that PostgresInstances name, one at a time: no list, no watch.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# The one configuration key is server-side applied, without force; scripts of a workload are read.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, patch]
# The pod that runs the server is read for its resources, restarts and readiness, and its annotation is touched so that
# the kubelet refreshes the ConfigMap volume at once. The benchmark's pod is read for its result.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, patch]
# The workload is read for its containers and restarted (an annotation of its pod template) under restartPolicy Always.
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, patch]
# A benchmark is a Job.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Transitions are told as Events.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
