//! What an authority says of a certificate's state (RFC 6960), to be handed out with it.

use std::fmt;

use x509_parser::asn1_rs::{Any, Class, FromDer, GeneralizedTime};

/// An OCSP response that says that a certificate is good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OcspResponse {
    /// Last moment at which clients believe it, in seconds of Unix time; `None` if there is always
    /// a newer one.
    pub next_update: Option<u64>,
}

/// Why an OCSP response cannot be handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OcspError {
    /// It is not one, or not in the form DER.
    Form,
    /// The authority gave no answer, but this status.
    Status(u8),
    /// It says nothing of the certificate.
    OtherCertificate,
    /// It says that the certificate was taken back.
    Revoked,
    /// It says that the authority does not know the certificate.
    Unknown,
}

/// Tag of an ENUMERATED.
const ENUMERATED: u32 = 10;
/// Tag of an INTEGER.
const INTEGER: u32 = 2;
/// Tag of an OCTET STRING.
const OCTET_STRING: u32 = 4;
/// Tag of a SEQUENCE.
const SEQUENCE: u32 = 16;

impl OcspResponse {
    /// Reads a response about the certificate with that serial number, in hexadecimal digits. Who
    /// signed it is left to clients, who have to find that out anyway.
    ///
    /// # Errors
    /// If it cannot be read, or does not say that the certificate is good.
    pub fn read(der: &[u8], serial: &str) -> Result<Self, OcspError> {
        let mut response = Items(only(der, SEQUENCE)?);
        let status = response.take(Class::Universal, ENUMERATED)?;
        if status != [0] {
            return Err(OcspError::Status(status.first().copied().unwrap_or_default()));
        }
        let mut typed = Items(only(response.take(Class::ContextSpecific, 0)?, SEQUENCE)?);
        // Its type: there is none but the basic one.
        typed.next()?;
        let basic = only(typed.take(Class::Universal, OCTET_STRING)?, SEQUENCE)?;
        let mut data = Items(Items(basic).take(Class::Universal, SEQUENCE)?);
        // Before the answers stand a version, perhaps, and who answers when.
        let answers = loop {
            let item = data.next()?;
            if item.class() == Class::Universal && item.tag().0 == SEQUENCE {
                break item.data;
            }
        };
        let mut answers = Items(answers);
        while !answers.0.is_empty() {
            let mut answer = Items(answers.take(Class::Universal, SEQUENCE)?);
            let mut id = Items(answer.take(Class::Universal, SEQUENCE)?);
            // The hash in use, and what it makes of the authority's name and key.
            for _ in 0..3 {
                id.next()?;
            }
            if digits(id.take(Class::Universal, INTEGER)?) != digits_of(serial) {
                continue;
            }
            return Self::judge(&mut answer);
        }
        Err(OcspError::OtherCertificate)
    }

    /// An answer behind its certificate's id: state, and the times it holds for.
    fn judge(answer: &mut Items<'_>) -> Result<Self, OcspError> {
        match answer.next()?.tag().0 {
            0 => {}
            1 => return Err(OcspError::Revoked),
            _ => return Err(OcspError::Unknown),
        }
        answer.next()?;
        let Ok(next) = answer.take(Class::ContextSpecific, 0) else {
            return Ok(Self { next_update: None });
        };
        let (_, time) = GeneralizedTime::from_der(next).map_err(|_| OcspError::Form)?;
        let time = time.utc_datetime().map_err(|_| OcspError::Form)?.unix_timestamp();
        Ok(Self { next_update: u64::try_from(time).ok() })
    }
}

/// What is left of a list of DER values.
struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    fn next(&mut self) -> Result<Any<'a>, OcspError> {
        let (rest, item) = Any::from_der(self.0).map_err(|_| OcspError::Form)?;
        self.0 = rest;
        Ok(item)
    }

    /// What is in the next value, if it is of that kind; else it stays.
    fn take(&mut self, class: Class, tag: u32) -> Result<&'a [u8], OcspError> {
        let (rest, item) = Any::from_der(self.0).map_err(|_| OcspError::Form)?;
        if item.class() != class || item.tag().0 != tag {
            return Err(OcspError::Form);
        }
        self.0 = rest;
        Ok(item.data)
    }
}

/// What is in a value of that kind, behind which nothing follows.
fn only(der: &[u8], tag: u32) -> Result<&[u8], OcspError> {
    let mut items = Items(der);
    let data = items.take(Class::Universal, tag)?;
    if items.0.is_empty() { Ok(data) } else { Err(OcspError::Form) }
}

/// A number without the zeros before it, so that two spellings are the same.
fn digits(integer: &[u8]) -> String {
    let text: String = integer.iter().map(|byte| format!("{byte:02x}")).collect();
    text.trim_start_matches('0').to_owned()
}

fn digits_of(serial: &str) -> String {
    serial.to_ascii_lowercase().trim_start_matches('0').to_owned()
}

impl fmt::Display for OcspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("it is no OCSP response in DER form"),
            Self::Status(status) => {
                write!(f, "the authority gave no answer, but the error status {status}")
            }
            Self::OtherCertificate => f.write_str("it is about another certificate"),
            Self::Revoked => f.write_str("it says that the certificate is revoked"),
            Self::Unknown => {
                f.write_str("it says that the authority does not know the certificate")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("tests are short");
        assert!(length < 0x80);
        [&[tag, length], &*content].concat()
    }

    /// A response about serial number 0x1234 in the state `state`.
    fn response(state: &[u8], times: &[&[u8]]) -> Vec<u8> {
        let id =
            value(0x30, &[&value(0x30, &[]), &value(4, &[]), &value(4, &[]), &[2, 2, 0x12, 0x34]]);
        let time = value(0x18, &[b"20261101000000Z"]);
        let answer = value(0x30, &[&id, state, &time, &times.concat()]);
        let who = value(0xa2, &[&value(4, &[b"hash"])]);
        let data = value(0x30, &[&who, &time, &value(0x30, &[&answer])]);
        let basic = value(0x30, &[&data]);
        let typed = value(0x30, &[&[6, 1, 0x2a], &value(4, &[&basic])]);
        value(0x30, &[&[10, 1, 0], &value(0xa0, &[&typed])])
    }

    #[test]
    fn a_response_tells_the_state_of_one_certificate() {
        let until = value(0xa0, &[&value(0x18, &[b"20261201000000Z"])]);
        let good = response(&[0x80, 0], &[&until]);
        let read = |der: &[u8], serial| OcspResponse::read(der, serial);
        assert_eq!(read(&good, "1234").map(|good| good.next_update), Ok(Some(1_796_083_200)));
        assert_eq!(read(&good, "001234").map(|good| good.next_update), Ok(Some(1_796_083_200)));
        assert_eq!(read(&good, "1235"), Err(OcspError::OtherCertificate));
        assert_eq!(
            read(&response(&[0x80, 0], &[]), "1234"),
            Ok(OcspResponse { next_update: None })
        );
        assert_eq!(read(&response(&[0xa1, 0], &[]), "1234"), Err(OcspError::Revoked));
        assert_eq!(read(&response(&[0x82, 0], &[]), "1234"), Err(OcspError::Unknown));
        assert_eq!(read(&value(0x30, &[&[10, 1, 3]]), "1234"), Err(OcspError::Status(3)));
    }

    #[test]
    fn what_is_no_response_is_refused_and_never_panics() {
        let good = response(&[0x80, 0], &[]);
        for end in 0..good.len() {
            assert!(OcspResponse::read(&good[..end], "1234").is_err(), "{end}");
        }
        for at in 0..good.len() {
            for byte in [0, 0x30, 0x80, 0xff] {
                let mut damaged = good.clone();
                damaged[at] = byte;
                drop(OcspResponse::read(&damaged, "1234"));
            }
        }
        assert_eq!(OcspResponse::read(b"hello", "1"), Err(OcspError::Form));
    }
}
