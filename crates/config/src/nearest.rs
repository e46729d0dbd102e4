//! "Did you mean": the known word that a typing error probably meant.

/// Words of other proxies, and ours.
const FOREIGN: &[(&str, &str)] = &[
    ("address", "bind"),
    ("addr", "bind"),
    ("backend", "pool"),
    ("backends", "servers"),
    ("balancer", "balance"),
    ("ca_file", "ca"),
    ("certfile", "cert"),
    ("certificate", "cert"),
    ("certificate", "certs"),
    ("certificates", "certs"),
    ("cluster", "pool"),
    ("cmd", "run"),
    ("command", "run"),
    ("directory", "cwd"),
    ("endpoint", "servers"),
    ("endpoints", "servers"),
    ("entrypoint", "listener"),
    ("environment", "env"),
    ("exec", "run"),
    ("expected", "expect"),
    ("file_server", "static"),
    ("files", "static"),
    ("filter", "middleware"),
    ("filters", "use"),
    ("frontend", "listener"),
    ("health", "check"),
    ("health_check", "check"),
    ("healthcheck", "check"),
    ("host", "match"),
    ("http", "listener"),
    ("insecure", "verify"),
    ("interval", "every"),
    ("key", "certs"),
    ("keyfile", "key"),
    ("lb", "balance"),
    ("lb_method", "balance"),
    ("listen", "bind"),
    ("location", "match"),
    ("locations", "route"),
    ("logging", "log"),
    ("max_body", "body"),
    ("max_connections", "connections"),
    ("method", "methods"),
    ("middlewares", "use"),
    ("name", "node"),
    ("path", "match"),
    ("port", "bind"),
    ("private_key", "key"),
    ("process", "app"),
    ("program", "app"),
    ("proxy_pass", "pool"),
    ("replicas", "instances"),
    ("routes", "route"),
    ("rule", "match"),
    ("rules", "route"),
    ("server", "listener"),
    ("service", "pool"),
    ("services", "pool"),
    ("skip_verify", "verify"),
    ("sni", "server_name"),
    ("ssl", "tls"),
    ("ssl_certificate", "cert"),
    ("ssl_certificate_key", "key"),
    ("status", "expect"),
    ("upstream", "pool"),
    ("upstreams", "pool"),
    ("working_dir", "cwd"),
];

/// The candidate that is most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase().replace('-', "_");
    // One slip in three letters is a slip; more is another word.
    let slips_max = (lower.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(&lower, &candidate.replace('-', "_")), candidate))
        .filter(|&(distance, candidate)| distance <= slips_max && distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Our word for what another proxy calls `word`, if it is a candidate.
pub(crate) fn foreign<'a>(
    word: &str,
    mut candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let ours: Vec<_> = FOREIGN.iter().filter(|(theirs, _)| *theirs == word).collect();
    candidates.find(|candidate| ours.iter().any(|(_, our)| our == candidate))
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_slips_of_the_finger() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("timeout", "tiemout", 1),
            ("pool", "pol", 1),
            ("a", "b", 1),
        ];
        for (a, b, expected) in cases {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_slip_is_mended_and_another_word_is_not() {
        let known = ["balance", "servers", "keepalive"];
        assert_eq!(nearest("balence", known.into_iter()), Some("balance"));
        assert_eq!(nearest("keep-alive", known.into_iter()), Some("keepalive"));
        assert_eq!(nearest("Servers", known.into_iter()), Some("servers"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }

    #[test]
    fn words_of_other_proxies_are_understood_where_ours_can_stand() {
        assert_eq!(foreign("upstream", ["route", "pool"].into_iter()), Some("pool"));
        assert_eq!(foreign("upstream", ["bind"].into_iter()), None);
    }
}
