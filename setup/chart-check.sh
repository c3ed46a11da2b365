#!/usr/bin/env bash
# Checks the chart: lint, every value set of charts/howdah/ci renders to valid YAML whose names are
# unique, and every one of ci/refused is refused by values.schema.json.
#
#   setup/chart-check.sh            without a cluster
#   setup/chart-check.sh --server   asks the API server of $CLUSTER, too: the chart and the samples, as a dry run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
chart=charts/howdah
# Not the name of an installed release: a dry run must not be compared with its objects.
render() { helm template check "$chart" --namespace howdah-system --kube-version 1.35.0 --values "$1"; }
failed=0
fail() { echo "chart: $*" >&2; failed=1; }

helm lint --strict --quiet "$chart" || fail "helm lint has findings"
for values in "$chart"/ci/*.yaml; do
  if ! output=$(render "$values"); then fail "$values does not render"; continue; fi
  doubles=$(awk '/^---/ {kind = name = ""} /^kind: / {kind = $2} /^  name: / && !name {name = $2; print kind "/" name}' <<<"$output" |
    grep -v '^Role' | sort | uniq -d)
  [ -z "$doubles" ] || fail "$values renders twice: $doubles"
done
for values in "$chart"/ci/refused/*.yaml; do
  if render "$values" >/dev/null 2>&1; then fail "$values was to be refused by values.schema.json"; fi
done
if [ "${1:-}" = --server ]; then
  . setup/cluster-env.sh
  dry_run() { kubectl apply --server-side --force-conflicts --dry-run=server --filename "$1" >/dev/null; }
  # `everything` and `one-namespace` name kinds and namespaces that a test cluster does not have.
  for values in "$chart"/ci/{defaults,one-node,ephemeral}.yaml; do
    render "$values" | dry_run - || fail "the API server refuses what $values renders"
  done
  for sample in config/samples/*.yaml; do
    dry_run "$sample" || fail "the API server refuses $sample"
  done
fi
exit $failed
