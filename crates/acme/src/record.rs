//! A file that people can read and that tells when it is damaged: lines `key: value`, an empty
//! line, and a body, which is PEM. Tools that read PEM skip what stands before it.
//!
//! The line `checksum` counts everything else. It is against disks and power cuts, not attackers.

use std::collections::BTreeMap;
use std::fmt::Write;

use evergate_core::balance::hash_bytes;

const CHECKSUM: &str = "checksum";

/// What such a file holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Record {
    /// Neither keys nor values hold a line break.
    pub(crate) fields: BTreeMap<&'static str, String>,
    pub(crate) body: String,
}

impl Record {
    /// The file's text; `title` goes on its first line.
    pub(crate) fn encode(&self, title: &str) -> String {
        let mut text =
            format!("# {title}\n# Evergate keeps this file: what is changed here is lost.\n");
        for (key, value) in &self.fields {
            debug_assert!(!value.contains(['\r', '\n']), "{key}");
            writeln!(text, "{key}: {value}").expect("text grows");
        }
        let sum = checksum(&text, &self.body);
        writeln!(text, "{CHECKSUM}: {sum:016x}\n").expect("text grows");
        text.push_str(&self.body);
        text
    }

    /// Reads a file's text: the fields in `keys`, and the body. Says what is wrong with it.
    pub(crate) fn decode(text: &str, keys: &[&'static str]) -> Result<Self, String> {
        let (head, body) = text.split_once("\n\n").ok_or("it breaks off")?;
        let (start, sum) = head.rsplit_once('\n').ok_or("it breaks off")?;
        let sum = sum.strip_prefix(CHECKSUM).and_then(|rest| rest.strip_prefix(": "));
        let sum = sum.and_then(|sum| u64::from_str_radix(sum, 16).ok());
        let sum = sum.ok_or("it has no checksum")?;
        if checksum(&format!("{start}\n"), body) != sum {
            return Err("its checksum is wrong".to_owned());
        }
        let mut fields = BTreeMap::new();
        for key in keys {
            let value = start.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            let value = value.ok_or_else(|| format!("it does not say `{key}`"))?;
            fields.insert(*key, value.to_owned());
        }
        Ok(Self { fields, body: body.to_owned() })
    }
}

fn checksum(head: &str, body: &str) -> u64 {
    hash_bytes(format!("{head}\n{body}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["authority", "names"];

    fn record() -> Record {
        let authority = "https://ca.example/dir".to_owned();
        let fields = BTreeMap::from([("authority", authority), ("names", String::new())]);
        Record { fields, body: "-----BEGIN X-----\nAA\n\nBB\n-----END X-----\n".to_owned() }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = record().encode("A test");
        assert!(text.starts_with("# A test\n"), "{text}");
        assert_eq!(Record::decode(&text, KEYS), Ok(record()));
        assert!(Record::decode(&text, &["other"]).unwrap_err().contains("`other`"));
    }

    #[test]
    fn every_prefix_and_every_changed_byte_is_noticed() {
        let text = record().encode("A test");
        for end in 0..text.len() {
            assert!(Record::decode(&text[..end], KEYS).is_err(), "cut at {end}");
        }
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            // The checksum's own digits may be written in another case only.
            assert!(Record::decode(&changed, KEYS).is_err(), "changed at {index}: {changed}");
        }
    }
}
