//! Names and values of header fields, methods, origins (RFC 9110, RFC 6454).

use crate::reader::Fault;

/// Fields that frame messages or belong to one connection: Evergate writes them itself.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Whether it is a token (RFC 9110, 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A field name, in lower case.
pub(crate) fn name(text: &str) -> Result<String, Fault> {
    if is_token(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Fault::new("bad-header", "cannot be the name of a header field")
        .help("use letters, digits and `-`: \"x-request-source\""))
}

/// A field name that a middleware may change, in lower case.
pub(crate) fn editable(text: &str) -> Result<String, Fault> {
    let name = name(text)?;
    if OURS.contains(&name.as_str()) {
        return Err(Fault::new("bad-header", "belongs to the connection; Evergate sets it itself")
            .help("leave it out"));
    }
    Ok(name)
}

/// A method: case counts (RFC 9110, 9.1).
pub(crate) fn method(text: &str) -> Result<String, Fault> {
    if !is_token(text) {
        return Err(Fault::new("bad-method", "is not an HTTP method")
            .help("write a method such as \"GET\" or \"POST\""));
    }
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Fault::new("bad-method", "is not an HTTP method: they are upper case")
            .help(format!("write \"{}\"", text.to_ascii_uppercase())));
    }
    Ok(text.to_owned())
}

/// `scheme://host[:port]`, or `*` for any.
pub(crate) fn origin(text: &str) -> Result<String, Fault> {
    let fault = |complaint: &str| {
        Fault::new("bad-origin", complaint).help("write \"https://hmi.example.org\", or \"*\"")
    };
    if text == "*" || text == "null" {
        return Ok(text.to_owned());
    }
    let Some((scheme, host)) = text.split_once("://") else {
        return Err(fault("is not an origin: it has no scheme"));
    };
    if !is_token(scheme) || host.is_empty() || host.contains(char::is_whitespace) {
        return Err(fault("is not an origin"));
    }
    if let Some(at) = host.find('/') {
        return Err(Fault::new("bad-origin", "is not an origin: origins have no path")
            .help(format!("write \"{scheme}://{}\"", &host[..at])));
    }
    if host.contains('*') {
        return Err(fault("is not an origin: only a `*` alone stands for any"));
    }
    Ok(text.to_ascii_lowercase())
}

/// A value that may stand in a field.
pub(crate) fn value(text: &str) -> Result<String, Fault> {
    if text.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err(Fault::new("bad-header", "holds a control character, such as a line feed"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_in_lower_case() {
        assert_eq!(name("X-Api-Key").expect("a name"), "x-api-key");
        assert!(name("").is_err() && name("a b").is_err() && name("ü").is_err());
        assert!(editable("Content-Length").is_err() && editable("Host").is_ok());
    }

    #[test]
    fn methods_are_upper_case() {
        assert!(method("PROPFIND").is_ok() && method("").is_err());
        let fault = method("get").expect_err("lower case");
        assert_eq!(fault.help.expect("there is help"), "write \"GET\"");
    }

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        assert!(origin("*").is_ok() && origin("https://A.example:8443").is_ok());
        for text in ["a.example", "https://a.example/", "https://*.a.example", "https://", "x y"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
