"""The EndpointPicker: one ext_proc stream per request."""
