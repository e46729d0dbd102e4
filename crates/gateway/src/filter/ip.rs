//! `ip`: who may pass, by the client's address as far as it is trusted to be told.

use std::net::IpAddr;

use evergate_config::IpRules;
use ipnet::IpNet;

use super::Verdict;
use crate::facts::Facts;
use crate::reject::{ClientFault, Reject};

/// Address rules of one middleware.
#[derive(Debug)]
pub(crate) struct Ip {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl Ip {
    pub(super) fn new(rules: &IpRules) -> Self {
        Self { allow: rules.allow.clone(), deny: rules.deny.clone() }
    }

    pub(super) fn judge(&self, facts: &Facts<'_>) -> Verdict {
        if self.lets_in(facts.client) {
            Verdict::Pass
        } else {
            Verdict::Refuse(Reject::Client(ClientFault::Address))
        }
    }

    fn lets_in(&self, client: IpAddr) -> bool {
        // An IPv4 client on a dual-stack socket must meet the IPv4 rules.
        let client = client.to_canonical();
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client));
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn deny_wins_over_allow_and_an_empty_allow_is_everybody() {
        let rules = Ip { allow: nets(&["10.0.0.0/8", "::1/128"]), deny: nets(&["10.6.6.0/24"]) };
        let table = [
            ("10.0.0.1", true),
            ("10.6.6.1", false),
            ("192.0.2.1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:10.6.6.1", false),
            ("::1", true),
        ];
        for (address, let_in) in table {
            assert_eq!(rules.lets_in(address.parse().unwrap()), let_in, "{address}");
        }
        let open = Ip { allow: Vec::new(), deny: nets(&["10.6.6.0/24"]) };
        assert!(open.lets_in("192.0.2.1".parse().unwrap()));
    }
}
