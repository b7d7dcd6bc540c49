"""A Kubernetes control plane on loopback, of its real programs, for tests of the chart. Knows no chart.

etcd, the API server, the controller manager, the scheduler, kwok (which plays nodes), KEDA and the KubeRay operator are
built from the Go modules in the folders beside this file. No container runs anywhere.
"""
