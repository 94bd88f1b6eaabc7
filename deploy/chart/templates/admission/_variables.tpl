{{/* asks: whether a container or init container of the pod asks for a slice. */}}
{{- define "mica.variables" }}
- name: containers
  expression: "object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])"
- name: asks
  expression: >-
    variables.containers.exists(c, has(c.resources) && has(c.resources.limits)
    && c.resources.limits.exists(name, name.startsWith('nvidia.com/mig-') && string(c.resources.limits[name]) != '0'))
{{- end }}
