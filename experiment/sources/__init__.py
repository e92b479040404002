"""Where rows come from: the embedded generator, local files, the hub."""
