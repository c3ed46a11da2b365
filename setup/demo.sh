#!/usr/bin/env bash
# The demo, once the operator is installed: a database, a tuning, its trials as they happen, and its result; then users
# of the database, a detector that learns their days, and a fault that it finds.
#
#   setup/demo.sh              runs it, anew when it ran before
#   setup/demo.sh fault NAME   makes one of the faults of config/samples/demo/fault.yaml, for 45 seconds
#   setup/demo.sh down         removes it, the operator and, where it is ours, the cluster
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/setup/cluster-env.sh"
samples=$root/config/samples/demo
namespace=howdah-demo tuning=shop detector=shop fault=dropped-index

say() { printf '\ndemo: %s\n' "$*"; }
stop() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# While the operator runs: it restores the baseline before a tuning is gone.
remove() {
  kubectl get crd postgrestunings.howdah.dev >/dev/null 2>&1 || return 0
  kubectl delete postgrestuning/"$tuning" anomalydetector/"$detector" --namespace "$namespace" --ignore-not-found --timeout 120s ||
    stop "not deleted within 2 minutes; \`kubectl -n $namespace describe pgt,pgad\` says what is waited for"
  kubectl delete -f "$samples/load.yaml" -f "$samples/monitoring.yaml" --ignore-not-found --timeout 60s
}

down() {
  if [ "${CLUSTER:-local}" = local ]; then # nothing outlives this cluster
    "$root/e2e/cluster/cluster" down
    rm -rf /var/lib/howdah-demo
  else
    remove
    kubectl delete --ignore-not-found --timeout 120s \
      -f "$samples/postgres.yaml" -f "$samples/volume.yaml" -f "$samples/namespace.yaml"
    helm uninstall howdah --namespace howdah-system --ignore-not-found --wait
  fi
  say "removed."
}

# apply FILE [NAME]: a sample with the images that were built, and the name of a fault.
apply() {
  sed "s#localhost/howdah-postgres:demo#$postgres#; s#localhost/howdah-monitoring:demo#$monitoring#; s#FAULT-NAME#${2:-}#" "$samples/$1.yaml" |
    kubectl apply -f - || stop "config/samples/demo/$1.yaml was not applied; the line above says why"
}

# fault NAME: makes one, again where it was made before.
fault() {
  kubectl delete "job/fault-$1" --namespace "$namespace" --ignore-not-found >/dev/null
  apply fault "$1"
}

# until_detector SECONDS WHAT CONDITION: waits for a condition of the detector, and says every half minute how far it is.
until_detector() {
  local end=$((SECONDS + $1)) said=
  until kubectl wait "pgad/$detector" --namespace "$namespace" --for="condition=$3" --timeout 30s >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || stop "no $2 within $1 s; \`kubectl -n $namespace describe pgad $detector\` says why"
    said=$(kubectl get "pgad/$detector" --namespace "$namespace" -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}')
    echo "  $(date -u +%T) ${said:-not yet looked at}"
  done
}

tune() {
  local file
  for file in namespace volume postgres tuning; do apply $file; done
  kubectl rollout status statefulset/shop-postgres --namespace "$namespace" --timeout 180s ||
    stop "PostgreSQL did not start; \`kubectl -n $namespace describe pod shop-postgres-0\` says why"
  say "trials, one after another (about six minutes):"
  "$root/target/debug/kubectl-howdah" follow --namespace "$namespace" "$tuning" ||
    stop "the tuning did not come to its end; \`kubectl -n $namespace describe pgt $tuning\` says why"
}

detect() {
  local file deployment picture=$root/target/demo-incident.svg
  say "users of the database, a Prometheus with its exporters, and a detector:"
  for file in load monitoring detector; do
    apply $file
    for deployment in $(kubectl get deployment --namespace "$namespace" -o name); do
      kubectl rollout status "$deployment" --namespace "$namespace" --timeout 180s ||
        stop "$deployment did not start; \`kubectl -n $namespace describe $deployment\` says why"
    done
  done
  say "it learns what is normal (about six minutes; a day of these users takes one):"
  until_detector 900 "trained model" Scoring
  kubectl get pgad --namespace "$namespace"
  say "a migration forgets an index:"
  fault $fault
  until_detector 60 "alarm" Anomalous
  sleep 15 # causes are named by some rows; undoing the fault moves metrics, too
  say "found:"
  kubectl get "pgad/$detector" --namespace "$namespace" -o jsonpath='{.status.incidents[0].message}{"\n"}'
  kubectl wait "job/fault-$fault" --namespace "$namespace" --for=condition=complete --timeout 120s >/dev/null
  until_detector 120 "end of the alarm" Anomalous=false
  kubectl exec --namespace howdah-system deployment/howdah -- \
    howdah anomaly explain "$namespace/$detector" --out /dev/stdout >"$picture" 2>"$picture.log" ||
    stop "the incident was not drawn: $(cat "$picture.log")"
  echo "drawn: ${picture#"$root/"} (open it in a browser)"
}

run() {
  if kubectl get namespace "$namespace" >/dev/null 2>&1; then
    say "removing what an earlier run left"
    remove
  fi
  # Its claim went with the namespace: a volume that was released is bound to no other.
  if [ "$(kubectl get pv howdah-demo-shop --ignore-not-found -o jsonpath='{.status.phase}')" = Released ]; then
    kubectl delete pv howdah-demo-shop --timeout 60s
  fi
  tune
  detect
  cat <<TEXT

Look further:
  $([ "${CLUSTER:-local}" != local ] || "$root/e2e/cluster/cluster" env)
  kubectl -n $namespace get pgt,pgi,trials,pgad
  kubectl -n $namespace get pgt $tuning -o yaml          # the recommendation, with its interval and its hash
  kubectl -n $namespace describe trial                   # what each trial measured
  kubectl -n $namespace describe pgad $detector             # what was learnt, seen and found
  kubectl -n $namespace get events --sort-by .lastTimestamp
  setup/demo.sh fault exclusive-lock                         # or cpu-load, shared-buffers
Run it again:     make demo
Tear it down:     make demo-down
TEXT
}
images() { . "$root/target/images/references" 2>/dev/null || stop "no images were built: run \`make demo\` first"; }

case ${1:-run} in
  run) images; run ;;
  fault) images; fault "${2:?the name of a fault}" ;;
  down) down ;;
  *) sed -n '2,7p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
