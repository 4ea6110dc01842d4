"""What makes Services work in the test cluster: ClusterIPs and load balancers that lead to endpoints, and names."""
