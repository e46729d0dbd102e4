//! Certificates from an ACME authority (RFC 8555).
