"""A rehearsal of the Helm chart without a cluster: pods are processes in network namespaces."""
