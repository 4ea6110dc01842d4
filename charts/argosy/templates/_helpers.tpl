{{- /* The whole name of an image: registry, name, tag. */ -}}
{{- define "argosy.image" -}}
{{- with (index . 0).Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ index . 1 }}:{{ (index . 0).Chart.AppVersion }}
{{- end -}}
