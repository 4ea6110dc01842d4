"""The gateway controller: watches Gateway API objects and programs Envoy."""
