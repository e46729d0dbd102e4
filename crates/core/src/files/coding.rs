//! Which coding of a file a client takes best (RFC 9110, 12.5.3).

use crate::head::{Fields, Name};

/// Weight of a coding that is wanted in full, in thousandths.
const WHOLE: u16 = 1000;

/// A content coding (RFC 9110, 8.4.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Every coding, the one that saves most for its price first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// What fields call it.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// What the names of files end with that hold it.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }
}

/// What a client takes, as its `Accept-Encoding` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// By [`Coding`], in thousandths; 0 is refused.
    codings: [u16; 3],
    /// None if it is not named: then it is taken, but anything that is named is liked better.
    identity: Option<u16>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choice {
    /// The file as it is.
    Identity,
    /// The file in a coding.
    Coded(Coding),
    /// Nothing that there is suits the client.
    Nothing,
}

impl Accepted {
    /// Reads `Accept-Encoding`; without one, only the file as it is. Elements that are not
    /// understood are passed over.
    pub fn read(fields: &Fields) -> Self {
        let mut accepted = Self { codings: [0; 3], identity: None };
        if !fields.has(Name::AcceptEncoding) {
            return accepted;
        }
        let mut named = [None; 3];
        let mut others = None;
        let lists = fields.all(Name::AcceptEncoding);
        for element in lists.flat_map(|list| list.split(|&byte| byte == b',')) {
            let Some((token, weight)) = weighed(element) else { continue };
            let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
            if let Some(coding) = Coding::ALL.into_iter().find(|coding| is(coding.token())) {
                named[coding as usize] = Some(weight);
            } else if is("x-gzip") {
                // RFC 9110, 8.4.1.3: the same
                named[Coding::Gzip as usize] = Some(weight);
            } else if is("identity") {
                accepted.identity = Some(weight);
            } else if is("*") {
                others = Some(weight);
            }
        }
        for (coding, named) in accepted.codings.iter_mut().zip(named) {
            *coding = named.or(others).unwrap_or(0);
        }
        if others == Some(0) {
            accepted.identity = accepted.identity.or(Some(0));
        }
        accepted
    }

    /// Whether it takes `coding`.
    pub fn takes(&self, coding: Coding) -> bool {
        self.codings[coding as usize] > 0
    }

    /// Whether it takes the file as it is.
    pub fn takes_identity(&self) -> bool {
        self.identity != Some(0)
    }

    /// Whether it takes any coding at all.
    pub fn takes_any(&self) -> bool {
        self.codings != [0; 3]
    }

    /// The best of `offers` and the file as it is; of two that the client likes as much, the one
    /// that is offered first.
    pub fn choose(&self, offers: impl IntoIterator<Item = Coding>) -> Choice {
        let mut best = (0, None);
        for coding in offers {
            let weight = self.codings[coding as usize];
            if weight > best.0 {
                best = (weight, Some(coding));
            }
        }
        match best {
            (weight, Some(coding)) if weight >= self.identity.unwrap_or(0) => Choice::Coded(coding),
            _ if self.takes_identity() => Choice::Identity,
            _ => Choice::Nothing,
        }
    }
}

/// Splits `gzip;q=0.5`; `None` if it is empty or its weight cannot be read.
pub(super) fn weighed(element: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = element.split(|&byte| byte == b';');
    let token = parts.next()?.trim_ascii();
    if token.is_empty() {
        return None;
    }
    let weights = parts.map(<[u8]>::trim_ascii);
    let mut weights = weights.filter_map(|part| {
        let [b'q' | b'Q', rest @ ..] = part else { return None };
        rest.trim_ascii_start().strip_prefix(b"=")
    });
    match weights.next() {
        Some(text) => Some((token, thousandths(text.trim_ascii())?)),
        None => Some((token, WHOLE)),
    }
}

/// RFC 9110, 12.4.2: up to three digits behind the dot.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, rest) = match text {
        [b'0'] => return Some(0),
        [b'1'] => return Some(WHOLE),
        [whole @ (b'0' | b'1'), b'.', rest @ ..] if rest.len() <= 3 => (*whole, rest),
        _ => return None,
    };
    let mut value = if whole == b'1' { WHOLE } else { 0 };
    for (digit, unit) in rest.iter().zip([100, 10, 1]) {
        value += digit.is_ascii_digit().then(|| u16::from(digit - b'0') * unit)?;
    }
    (value <= WHOLE).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &str) -> Accepted {
        let mut fields = Fields::default();
        fields.append(Name::AcceptEncoding, b"Accept-Encoding", value.as_bytes());
        Accepted::read(&fields)
    }

    #[test]
    fn the_best_for_the_client_is_chosen() {
        use Choice::{Coded, Identity, Nothing};
        use Coding::{Brotli, Gzip, Zstd};
        let all = Coding::ALL;
        let table: [(&str, &[Coding], Choice); 24] = [
            ("", &all, Identity),
            ("gzip", &all, Coded(Gzip)),
            ("gzip", &[Zstd], Identity),
            ("GZIP", &all, Coded(Gzip)),
            ("x-gzip", &all, Coded(Gzip)),
            ("gzip, deflate, br, zstd", &all, Coded(Zstd)),
            ("gzip, br", &[Gzip, Brotli], Coded(Gzip)),
            ("gzip;q=0.8, br;q=0.9", &all, Coded(Brotli)),
            ("gzip; q=0.8 ,br;\tq=0.799", &all, Coded(Gzip)),
            ("gzip;q=0", &all, Identity),
            ("gzip;q=0.000, br;q=0.001", &all, Coded(Brotli)),
            ("identity;q=0, gzip;q=0.1", &all, Coded(Gzip)),
            ("identity;q=0", &all, Nothing),
            ("identity;q=0, gzip", &[Zstd], Nothing),
            ("identity, gzip;q=0.5", &all, Identity),
            ("identity, gzip", &all, Coded(Gzip)),
            ("*", &all, Coded(Zstd)),
            ("*;q=0", &all, Nothing),
            ("*;q=0, identity", &all, Identity),
            ("*;q=0.5, zstd;q=0", &all, Coded(Brotli)),
            ("identity;q=1, *;q=0", &all, Identity),
            ("gzip;q=2", &all, Identity),
            ("gzip;q=0.1234", &all, Identity),
            (", ,gzip;level=9;q=0.4,;q=1", &all, Coded(Gzip)),
        ];
        for (value, offers, choice) in table {
            assert_eq!(accepted(value).choose(offers.iter().copied()), choice, "{value}");
        }
    }

    #[test]
    fn without_the_field_only_the_file_as_it_is_is_taken() {
        let accepted = Accepted::read(&Fields::default());
        assert_eq!(accepted.choose(Coding::ALL), Choice::Identity);
        assert!(!accepted.takes_any() && accepted.takes_identity());
    }

    #[test]
    fn weights_are_read_as_the_grammar_says() {
        let table: [(&[u8], Option<u16>); 12] = [
            (b"0", Some(0)),
            (b"1", Some(1000)),
            (b"0.", Some(0)),
            (b"0.5", Some(500)),
            (b"0.25", Some(250)),
            (b"0.125", Some(125)),
            (b"1.000", Some(1000)),
            (b"1.001", None),
            (b"2", None),
            (b".5", None),
            (b"-1", None),
            (b"0.x", None),
        ];
        for (text, value) in table {
            assert_eq!(thousandths(text), value, "{text:?}");
        }
    }
}
