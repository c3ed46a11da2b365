#!/usr/bin/env bash
# Copies into the chart what Helm can only read there: CRDs, dashboard, alerts.
#
#   setup/chart-files.sh           writes the copies (`make generate`)
#   setup/chart-files.sh --check   ends with 1 where they differ (`make test`)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
status=0
for pair in crds:crds config/dashboards:dashboards config/alerts:alerts; do
  source=${pair%%:*} copy=charts/howdah/files/${pair#*:}
  if [ "${1:-}" = --check ]; then
    diff -r "$source" "$copy" >&2 || { echo "chart-files: $copy differs from $source; run \`make generate\`" >&2; status=1; }
  else
    rm -rf "$copy"
    cp -r "$source" "$copy"
  fi
done
exit $status
