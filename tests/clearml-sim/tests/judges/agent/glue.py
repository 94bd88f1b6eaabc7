"""Runs the Kubernetes glue of ClearML's agent: glue.py NAMESPACE QUEUE. What its example k8s_glue_example.py does, in short."""

import sys

from clearml_agent.glue.k8s import K8sIntegration

namespace, queue = sys.argv[1:]
glue = K8sIntegration(namespace=namespace, template_yaml="template.yaml", max_pods_limit=10)
glue.k8s_daemon([queue])
