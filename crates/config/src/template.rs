//! Text with `{variables}`; `{{` and `}}` are braces.

use crate::field;
use crate::model::{Part, Template};
use crate::nearest::nearest;
use crate::reader::Fault;

/// Variables that every template has; a match cannot use these names for its parameters.
pub(crate) const VARIABLES: [&str; 5] = ["client_ip", "host", "path", "query", "route"];
/// Parts of one template.
const PARTS_MAX: usize = 64;

/// Splits text into its parts. Whether a parameter exists is not known here.
pub(crate) fn parse(text: &str) -> Result<Template, Fault> {
    if text.chars().any(char::is_control) {
        return Err(Fault::new("bad-template", "holds a control character, such as a line feed"));
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..];
        if brace.starts_with("{{") || brace.starts_with("}}") {
            literal.push_str(&brace[..1]);
            rest = &brace[2..];
            continue;
        }
        let end = brace.find('}').filter(|&end| end > 0 && !brace[1..end].contains('{'));
        let Some(end) = end else {
            let complaint = format!("has a `{}` without its partner", &brace[..1]);
            let help = "variables look like {client_ip}; a brace itself is written twice";
            return Err(Fault::new("bad-template", complaint).help(help));
        };
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(variable(&brace[1..end])?);
        rest = &brace[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    if parts.len() > PARTS_MAX {
        return Err(Fault::new("bad-template", format!("has more than {PARTS_MAX} parts")));
    }
    Ok(Template { parts })
}

fn variable(name: &str) -> Result<Part, Fault> {
    let fault = |complaint: String| Fault::new("bad-template", complaint);
    match name {
        "client_ip" => return Ok(Part::ClientIp),
        "host" => return Ok(Part::Host),
        "path" => return Ok(Part::Path),
        "query" => return Ok(Part::Query),
        "route" => return Ok(Part::Route),
        _ => {}
    }
    if let Some(field) = name.strip_prefix("header:") {
        return match field::name(field) {
            Ok(field) => Ok(Part::Header(field)),
            Err(_) => Err(fault("names a header field that cannot exist".to_owned())),
        };
    }
    if let Some(cookie) = name.strip_prefix("cookie:") {
        return if field::is_token(cookie) {
            Ok(Part::Cookie(cookie.to_owned()))
        } else {
            Err(fault("names a cookie that cannot exist".to_owned()))
        };
    }
    if is_param(name) {
        return Ok(Part::Param(name.to_owned()));
    }
    let known = VARIABLES.iter().copied().chain(["header:NAME", "cookie:NAME"]);
    let help = match nearest(name, VARIABLES.iter().copied()) {
        Some(meant) => format!("did you mean {{{meant}}}?"),
        None => format!(
            "there are {}, and the parameters of the route's match",
            known.map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ")
        ),
    };
    Err(fault("has a variable that does not exist".to_owned()).help(help))
}

/// Whether a parameter of a match may be called this.
pub(crate) fn is_param(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// As [`parse`] reads it.
pub(crate) fn show(template: &Template) -> String {
    template
        .parts
        .iter()
        .map(|part| match part {
            Part::Literal(text) => text.replace('{', "{{").replace('}', "}}"),
            Part::ClientIp => "{client_ip}".to_owned(),
            Part::Host => "{host}".to_owned(),
            Part::Path => "{path}".to_owned(),
            Part::Query => "{query}".to_owned(),
            Part::Route => "{route}".to_owned(),
            Part::Header(name) => format!("{{header:{name}}}"),
            Part::Cookie(name) => format!("{{cookie:{name}}}"),
            Part::Param(name) => format!("{{{name}}}"),
        })
        .collect()
}

/// The parameters it needs.
pub(crate) fn params(template: &Template) -> impl Iterator<Item = &str> {
    template.parts.iter().filter_map(|part| match part {
        Part::Param(name) => Some(name.as_str()),
        Part::Literal(_)
        | Part::ClientIp
        | Part::Host
        | Part::Path
        | Part::Query
        | Part::Route
        | Part::Header(_)
        | Part::Cookie(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_literals_and_variables() {
        let parts = parse("https://{host}{path}?t={tenant}").expect("a template").parts;
        let literal = |text: &str| Part::Literal(text.to_owned());
        let expected = [
            literal("https://"),
            Part::Host,
            Part::Path,
            literal("?t="),
            Part::Param("tenant".to_owned()),
        ];
        assert_eq!(parts, expected);
        assert_eq!(
            parse("{header:X-User}{cookie:sid}").expect("a template").parts,
            [Part::Header("x-user".to_owned()), Part::Cookie("sid".to_owned())]
        );
        assert_eq!(parse("").expect("empty is a template").parts, []);
    }

    #[test]
    fn doubled_braces_are_braces() {
        let text = r#"{{"group":"{route}"}}"#;
        let template = parse(text).expect("a template");
        assert_eq!(template.parts[0], Part::Literal("{\"group\":\"".to_owned()));
        assert_eq!(show(&template), text);
    }

    #[test]
    fn broken_templates_are_refused() {
        for text in ["{", "}", "{host", "{}", "{a b}", "{header:}", "{cookie:a b}", "a\nb", "{9}"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let fault = parse("{client-ip}").expect_err("a slip");
        assert_eq!(fault.help.expect("there is help"), "did you mean {client_ip}?");
    }
}
