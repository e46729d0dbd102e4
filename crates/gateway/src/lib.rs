//! The data plane: listeners, HTTP/1, the life of a request.
