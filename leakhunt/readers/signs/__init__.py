"""What supervisors, container runtimes and killers in user space say of deaths for want of memory."""
