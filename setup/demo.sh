#!/usr/bin/env bash
# The demo, once the operator is installed: a database, a tuning, its trials as they happen, and its result.
#
#   setup/demo.sh        runs it, anew when it ran before
#   setup/demo.sh down   removes it, the operator and, where it is ours, the cluster
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/setup/cluster-env.sh"
samples=$root/config/samples/demo
namespace=howdah-demo tuning=shop

say() { printf '\ndemo: %s\n' "$*"; }
stop() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# While the operator runs: it restores the baseline before a tuning is gone.
remove() {
  kubectl get crd postgrestunings.howdah.dev >/dev/null 2>&1 || return 0
  kubectl delete postgrestuning "$tuning" --namespace "$namespace" --ignore-not-found --timeout 120s ||
    stop "the tuning was not deleted within 2 minutes; \`kubectl -n $namespace describe pgt $tuning\` says what it waits for"
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

run() {
  . "$root/target/images/references"
  if kubectl get postgrestuning "$tuning" --namespace "$namespace" >/dev/null 2>&1; then
    say "removing the tuning of an earlier run"
    remove
  fi
  local file
  for file in namespace volume postgres tuning; do
    sed "s#localhost/howdah-postgres:demo#$postgres#" "$samples/$file.yaml" | kubectl apply -f -
  done
  kubectl rollout status statefulset/shop-postgres --namespace "$namespace" --timeout 180s ||
    stop "PostgreSQL did not start; \`kubectl -n $namespace describe pod shop-postgres-0\` says why"
  say "trials, one after another (about six minutes):"
  "$root/target/debug/kubectl-howdah" follow --namespace "$namespace" "$tuning" ||
    stop "the tuning did not come to its end; \`kubectl -n $namespace describe pgt $tuning\` says why"
  cat <<TEXT

Look further:
  $([ "${CLUSTER:-local}" != local ] || "$root/e2e/cluster/cluster" env)
  kubectl -n $namespace get pgt,pgi,trials
  kubectl -n $namespace get pgt $tuning -o yaml          # the recommendation, with its interval and its hash
  kubectl -n $namespace describe trial                   # what each trial measured
  kubectl -n $namespace get events --sort-by .lastTimestamp
Run it again:     make demo
Tear it down:     make demo-down
TEXT
}
case ${1:-run} in
  run) run ;;
  down) down ;;
  *) sed -n '2,6p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
