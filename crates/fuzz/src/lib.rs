//! Fuzz targets, each a function of bytes that must not panic.
