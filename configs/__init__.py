"""One recipe per experiment: get_config(arg), and sweep() where there is one."""
