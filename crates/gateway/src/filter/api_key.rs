//! `api_key`: a shared key in a header field.

use std::hint::black_box;

use evergate_config::{self as config, Secret};

use super::Verdict;
use crate::facts::Facts;
use crate::reject::{ClientFault, Reject};

/// Keys of one middleware.
#[derive(Debug)]
pub(crate) struct ApiKey {
    header: String,
    keys: Vec<Secret>,
}

impl ApiKey {
    pub(super) fn new(rules: &config::ApiKey) -> Self {
        Self { header: rules.header.clone(), keys: rules.keys.clone() }
    }

    pub(super) fn judge(&self, facts: &Facts<'_>) -> Verdict {
        let sent = facts.head.fields.find(self.header.as_bytes()).unwrap_or_default();
        if self.opens(sent) {
            Verdict::Pass
        } else {
            Verdict::Refuse(Reject::Client(ClientFault::ApiKey))
        }
    }

    /// Compares with every key in full, so that the time taken tells nothing about them.
    fn opens(&self, sent: &[u8]) -> bool {
        let matches = self.keys.iter().map(|key| is_same(key.expose().as_bytes(), sent));
        matches.fold(false, |any, same| black_box(any | same)) && !sent.is_empty()
    }
}

/// Whether both are equal, in a time that depends on the length of `sent` only.
fn is_same(key: &[u8], sent: &[u8]) -> bool {
    let mut difference = u8::from(key.len() != sent.len());
    for (index, byte) in sent.iter().enumerate() {
        let other = key.get(index % key.len().max(1)).copied().unwrap_or(!*byte);
        difference |= black_box(byte ^ other);
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_key_opens() {
        let filter = ApiKey {
            header: "x-api-key".into(),
            keys: vec![Secret::new("alpha".into()), Secret::new("beta".into())],
        };
        let table: [(&[u8], bool); 7] = [
            (b"alpha", true),
            (b"beta", true),
            (b"alph", false),
            (b"alphaa", false),
            (b"betabeta", false),
            (b"", false),
            (b"ALPHA", false),
        ];
        for (sent, opens) in table {
            assert_eq!(filter.opens(sent), opens, "{sent:?}");
        }
        assert!(!ApiKey { header: "k".into(), keys: vec![] }.opens(b"x"));
    }
}
