"""A node of the test cluster: Pods as processes, each pod with a network, each container with files of its own."""
