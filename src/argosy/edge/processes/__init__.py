"""Child processes: started, probed, restarted, ended; never orphaned."""
