"""Gateway API objects → routes and pools → Envoy resources, as plain values."""
