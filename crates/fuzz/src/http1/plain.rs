//! A reader of heads that is slow and plain on purpose: lines are split, names are lowered, and
//! what it says is compared with the codec. It is given only what the codec took.

use evergate_core::head::{Fields, RequestHead, ResponseHead, Version};
use evergate_core::http1::{Body, Request, Response};

/// A head cut into lines; names in lower case.
struct Plain {
    start_line: String,
    fields: Vec<(String, String)>,
}

impl Plain {
    fn read(head: &[u8]) -> Self {
        let head = text(head);
        let head = head.strip_suffix("\r\n\r\n").expect("a head ends in an empty line");
        assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "every CR and LF is in a CRLF");
        let mut lines = head.split("\r\n");
        let start_line = lines.next().expect("a split yields at least one part").to_owned();
        assert!(!start_line.contains(is_control), "{start_line:?}");
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a field has a colon");
            assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
            assert!(!value.contains(is_control), "{value:?}");
            (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
        });
        let fields = fields.collect();
        Self { start_line, fields }
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(field, _)| field == name);
        fields.map(|(_, value)| &**value).collect()
    }

    /// The body that the fields announce; panics if they are not clear about it.
    fn announced(&self) -> Option<Body> {
        match (&self.all("content-length")[..], &self.all("transfer-encoding")[..]) {
            ([], []) => None,
            ([length], []) => {
                assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{length:?}");
                let length = length.parse().expect("a length fits in 64 bits");
                Some(if length == 0 { Body::Empty } else { Body::Sized(length) })
            }
            ([], [coding]) => {
                assert!(coding.eq_ignore_ascii_case("chunked"), "{coding:?}");
                Some(Body::Chunked)
            }
            (lengths, codings) => panic!("{lengths:?} and {codings:?}"),
        }
    }

    fn options(&self) -> Vec<String> {
        let fields = self.all("connection");
        let options = fields.iter().flat_map(|value| value.split(','));
        options.map(|option| option.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
    }

    fn keeps_alive(&self, version: Version) -> bool {
        let has = |option: &str| self.options().iter().any(|one| one == option);
        !has("close") && (version == Version::Http11 || has("keep-alive"))
    }

    fn expect_same_fields(&self, fields: &Fields) {
        assert_eq!(fields.len(), self.fields.len());
        for (field, (name, value)) in fields.iter().zip(&self.fields) {
            assert_eq!(text(field.name).to_ascii_lowercase(), *name);
            assert_eq!(text(field.value), *value);
        }
    }
}

/// The codec took `head` as `request`; so must anyone.
pub(super) fn expect_request(head: &[u8], request: &Request, read: &RequestHead) {
    let empty_lines = head.chunks(2).take_while(|line| line == b"\r\n").count();
    assert!(empty_lines <= 2);
    let plain = Plain::read(&head[2 * empty_lines..]);
    let words: Vec<_> = plain.start_line.split(' ').collect();
    let [method, target, version] = words[..] else { panic!("{:?}", plain.start_line) };
    assert_eq!(method, text(read.method_text()));
    assert!(!matches!(method, "CONNECT" | "TRACE"));
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{target:?}");
    let http10 = version == "HTTP/1.0";
    assert_eq!(read.version, if http10 { Version::Http10 } else { Version::Http11 });
    plain.expect_same_fields(&read.fields);
    match &plain.all("host")[..] {
        [] => assert!(http10),
        [host] => assert!(host.eq_ignore_ascii_case(&text(read.authority())), "{host:?}"),
        hosts => panic!("{hosts:?}"),
    }
    assert!(target.starts_with('/') || target == "*" || target.contains("://"));
    let read_target = text(read.target());
    let is_tail = target.ends_with(read_target.trim_start_matches('/'));
    assert!(
        is_tail || (method, &*read_target) == ("OPTIONS", "*"),
        "{read_target:?} of {target:?}"
    );
    let announced = plain.announced();
    assert_eq!(request.body, announced.unwrap_or(Body::Empty));
    assert!(!(http10 && request.body == Body::Chunked));
    assert_eq!(request.keep_alive, plain.keeps_alive(read.version));
    let forbidden = ["host", "content-length", "transfer-encoding", "authorization", "cookie"];
    assert!(!plain.options().iter().any(|option| forbidden.contains(&&**option)));
    for value in plain.all("expect") {
        assert!(value.eq_ignore_ascii_case("100-continue"), "{value:?}");
    }
}

/// The codec took `head` as `response`; so must anyone.
pub(super) fn expect_response(head: &[u8], response: &Response, read: &ResponseHead) {
    let plain = Plain::read(head);
    let mut words = plain.start_line.splitn(3, ' ');
    assert!(words.next().is_some_and(|version| version.starts_with("HTTP/1.")));
    assert_eq!(words.next(), Some(&*read.status.to_string()));
    plain.expect_same_fields(&read.fields);
    let announced = plain.announced().unwrap_or(Body::UntilClose);
    assert!(response.body == announced || response.body == Body::Empty);
    assert_eq!(response.upgrade, read.status == 101);
    let keeps_alive = plain.keeps_alive(read.version) && response.body != Body::UntilClose;
    assert_eq!(response.keep_alive, keeps_alive);
}

/// One character for each byte.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn is_control(c: char) -> bool {
    c.is_ascii_control() && c != '\t'
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
