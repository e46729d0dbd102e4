//! Which route a request takes: host, path, method and headers, by specificity.
