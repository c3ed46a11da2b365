# Sourced: KUBECONFIG, kubectl and helm of the cluster that $CLUSTER names.
#   local     the one of e2e/cluster (default)
#   current   the one of the present KUBECONFIG
case ${CLUSTER:-local} in
  local) eval "$("$(dirname "${BASH_SOURCE[0]}")/../e2e/cluster/cluster" env)" ;;
  current)
    for tool in kubectl helm; do
      command -v $tool >/dev/null || { echo "setup: CLUSTER=current needs $tool on PATH" >&2; exit 1; }
    done
    kubectl get --raw /readyz >/dev/null || { echo "setup: the cluster of KUBECONFIG does not answer; check it with \`kubectl cluster-info\`" >&2; exit 1; }
    ;;
  *) echo "setup: CLUSTER is local or current, not $CLUSTER" >&2; exit 1 ;;
esac
