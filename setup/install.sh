#!/usr/bin/env bash
# Installs the operator by Helm into the cluster that $CLUSTER names, from the images of setup/images.sh, and waits
# until it is ready. Running it again upgrades.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/setup/cluster-env.sh"
. "$root/target/images/references"
namespace=howdah-system

options=(--set "image.repository=${howdah%:*}" --set "image.tag=${howdah##*:}")
if [ "${CLUSTER:-local}" = local ]; then
  # There is no volume provisioner: the learner's state is kept in a directory of this machine, which is the node.
  models=/var/lib/howdah-demo/models
  install -d -o 65532 -g 65532 -m 0700 "$models"
  options+=(--set "modelStore.persistence.hostPath=$models")
elif ! kubectl get storageclass -o jsonpath='{.items[*].metadata.annotations}' | grep -q 'is-default-class":"true'; then
  echo "install: the cluster has no default StorageClass, and models are kept on a volume: annotate one with" \
    "storageclass.kubernetes.io/is-default-class=true" >&2
  exit 1
fi

# The operator and `helm test` run under the strictest Pod Security Standard.
kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $namespace, labels: {pod-security.kubernetes.io/enforce: restricted}}
YAML
if ! helm upgrade --install howdah "$root/charts/howdah" --namespace "$namespace" \
  "${options[@]}" --wait --timeout 3m >"$root/target/images/helm.log" 2>&1; then
  cat "$root/target/images/helm.log" >&2
  kubectl -n "$namespace" get pods >&2
  kubectl -n "$namespace" logs deployment/howdah --tail 20 >&2 || true
  echo "install: the operator is not ready; the lines above are Helm's, the pods and the operator's last words" >&2
  exit 1
fi
echo "install: howdah is ready in namespace $namespace"
