//! "Did you mean": the known word that a typing error probably meant.

/// Words of other proxies and supervisors, in lower case and with `_` for `-`, and ours; one
/// with a dot stands in a table.
const FOREIGN: &[(&str, &str)] = &[
    ("1", "HUP"),
    ("15", "TERM"),
    ("2", "INT"),
    ("3", "QUIT"),
    ("9", "KILL"),
    ("above", "rss"),
    ("addr", "bind"),
    ("address", "addresses"),
    ("address", "bind"),
    ("addresses", "address"),
    ("advert_int", "interval"),
    ("advert_interval", "interval"),
    ("advertise_interval", "interval"),
    ("advertisement_interval", "interval"),
    ("args", "run"),
    ("arguments", "run"),
    ("auth_hmac", "auth.hmac"),
    ("auth_pass", "auth.pass"),
    ("authentication", "auth"),
    ("autorestart", "restart"),
    ("backend", "pool"),
    ("backends", "servers"),
    ("backups", "keep"),
    ("balancer", "balance"),
    ("brotli", "br"),
    ("burst", "failures"),
    ("ca_file", "ca"),
    ("canary", "canary_for"),
    ("canary", "deploy.canary_for"),
    ("certfile", "cert"),
    ("certificate", "cert"),
    ("certificate", "certs"),
    ("certificates", "certs"),
    ("cgroup", "tree"),
    ("chdir", "cwd"),
    ("cluster", "pool"),
    ("cmd", "run"),
    ("command", "run"),
    ("control_group", "tree"),
    ("cores", "cpu"),
    ("count", "instances"),
    ("cpu", "limits.cpu"),
    ("cpuquota", "cpu"),
    ("cpuquota", "limits.cpu"),
    ("cpus", "cpu"),
    ("cpus", "limits.cpu"),
    ("delay", "base"),
    ("dependencies", "after"),
    ("depends", "after"),
    ("depends_on", "after"),
    ("dependson", "after"),
    ("destination", "to"),
    ("dev", "interface"),
    ("device", "interface"),
    ("directory", "cwd"),
    ("drain_timeout", "drain"),
    ("duration", "for"),
    ("endpoint", "servers"),
    ("endpoints", "addresses"),
    ("endpoints", "servers"),
    ("entry", "run"),
    ("entrypoint", "listener"),
    ("environment", "env"),
    ("every", "interval"),
    ("exec", "run"),
    ("execstart", "run"),
    ("expected", "expect"),
    ("failure_action", "on_failure"),
    ("failure_threshold", "fall"),
    ("failures", "fall"),
    ("false", "never"),
    ("fd", "inherit"),
    ("file", "to"),
    ("file_server", "static"),
    ("files", "static"),
    ("filter", "middleware"),
    ("filters", "use"),
    ("frontend", "listener"),
    ("garp_master_refresh", "announce.refresh"),
    ("garp_master_repeat", "announce.repeat"),
    ("grace", "stop"),
    ("grace", "timeout"),
    ("grace_period", "timeout"),
    ("group", "sync"),
    ("gz", "gzip"),
    ("health", "check"),
    ("health", "ready.http"),
    ("health_check", "check"),
    ("health_check", "ready.http"),
    ("healthcheck", "check"),
    ("healthcheck", "ready.http"),
    ("host", "addresses"),
    ("host", "match"),
    ("http", "listener"),
    ("inherit", "stdout"),
    ("initial", "base"),
    ("insecure", "verify"),
    ("interface", "link"),
    ("interfaces", "link"),
    ("interval", "every"),
    ("interval", "within"),
    ("ip", "address"),
    ("ip", "addresses"),
    ("ips", "address"),
    ("journal", "stdout"),
    ("key", "certs"),
    ("key", "secret"),
    ("keyfile", "key"),
    ("kill_mode", "stop.kill"),
    ("kill_signal", "stop.signal"),
    ("kill_timeout", "stop.timeout"),
    ("killasgroup", "stop.kill"),
    ("killmode", "stop.kill"),
    ("killsignal", "stop.signal"),
    ("kind", "by"),
    ("lb", "balance"),
    ("lb_method", "balance"),
    ("limit", "cap"),
    ("limit", "rss"),
    ("limitnofile", "limits.files"),
    ("listen", "bind"),
    ("listen_fds", "socket"),
    ("liveness", "alive.http"),
    ("liveness_probe", "alive.http"),
    ("livenessprobe", "alive.http"),
    ("location", "match"),
    ("locations", "route"),
    ("log", "output"),
    ("log_file", "output.to"),
    ("logfile", "output.to"),
    ("logging", "log"),
    ("logs", "output"),
    ("max", "cap"),
    ("max", "rss"),
    ("max_body", "body"),
    ("max_connections", "connections"),
    ("max_failures", "failures"),
    ("max_files", "keep"),
    ("max_memory_restart", "memory_watch.rss"),
    ("max_restarts", "backoff.failures"),
    ("max_size", "max"),
    ("max_surge", "deploy.surge"),
    ("max_surge", "surge"),
    ("max_unavailable", "deploy.unavailable"),
    ("max_unavailable", "unavailable"),
    ("maxbytes", "max"),
    ("maxsurge", "surge"),
    ("maxunavailable", "unavailable"),
    ("mcast", "peers"),
    ("mem", "memory"),
    ("mem_limit", "limits.memory"),
    ("memory", "limits.memory"),
    ("memory", "rss"),
    ("memory_limit", "limits.memory"),
    ("memory_max", "limits.memory"),
    ("memory_max", "memory"),
    ("memorymax", "limits.memory"),
    ("memorymax", "memory"),
    ("method", "methods"),
    ("middlewares", "use"),
    ("min", "base"),
    ("mixed", "tree"),
    ("mode", "kill"),
    ("name", "node"),
    ("nic", "interface"),
    ("no", "never"),
    ("nodes", "peer"),
    ("nofile", "files"),
    ("nofile", "limits.files"),
    ("none", "by"),
    ("none", "nowhere"),
    ("nopreempt", "preempt"),
    ("notify", "by"),
    ("notify", "on_change"),
    ("notify_master", "on_change"),
    ("nproc", "tasks"),
    ("null", "nowhere"),
    ("numprocs", "instances"),
    ("on_abnormal", "on-failure"),
    ("open_files", "files"),
    ("password", "auth.pass"),
    ("path", "http"),
    ("path", "match"),
    ("period", "for"),
    ("pids", "tasks"),
    ("port", "bind"),
    ("port", "ports"),
    ("private_key", "key"),
    ("process", "app"),
    ("process", "main"),
    ("processes", "instances"),
    ("processes", "tasks"),
    ("program", "app"),
    ("proxy_pass", "pool"),
    ("ram", "memory"),
    ("readiness", "ready.http"),
    ("readiness_probe", "ready.http"),
    ("readinessprobe", "ready.http"),
    ("replicas", "instances"),
    ("requires", "after"),
    ("reset_after", "stable_after"),
    ("resources", "limits"),
    ("respawn", "restart"),
    ("restart_delay", "backoff.base"),
    ("restart_policy", "restart"),
    ("restartsec", "backoff.base"),
    ("retries", "backoff.failures"),
    ("retries", "failures"),
    ("retries", "fall"),
    ("rolling", "deploy"),
    ("rollout", "deploy"),
    ("rotate", "keep"),
    ("routes", "route"),
    ("rule", "match"),
    ("rules", "route"),
    ("scale", "instances"),
    ("script", "on_change"),
    ("script", "run"),
    ("server", "listener"),
    ("service", "pool"),
    ("services", "app"),
    ("services", "pool"),
    ("shutdown", "stop.signal"),
    ("sig", "signal"),
    ("sighup", "HUP"),
    ("sigint", "INT"),
    ("sigkill", "KILL"),
    ("signal_name", "signal"),
    ("sigquit", "QUIT"),
    ("sigterm", "TERM"),
    ("sigusr1", "USR1"),
    ("sigusr2", "USR2"),
    ("sigwinch", "WINCH"),
    ("size", "max"),
    ("skip_verify", "verify"),
    ("sni", "server_name"),
    ("soak", "canary_for"),
    ("socket_activation", "socket"),
    ("ssl", "tls"),
    ("ssl_certificate", "cert"),
    ("ssl_certificate_key", "key"),
    ("standardoutput", "output.to"),
    ("start_period", "within"),
    ("start_timeout", "ready.within"),
    ("startlimitburst", "backoff.failures"),
    ("startretries", "backoff.failures"),
    ("startsecs", "ready"),
    ("startsecs", "stable_after"),
    ("status", "expect"),
    ("stderr", "output.to"),
    ("stdout", "output.to"),
    ("stdout_logfile", "output.to"),
    ("stop_grace_period", "stop.timeout"),
    ("stop_signal", "stop.signal"),
    ("stop_timeout", "stop.timeout"),
    ("stopasgroup", "stop.kill"),
    ("stopsignal", "stop.signal"),
    ("stopwaitsecs", "stop.timeout"),
    ("strategy", "deploy"),
    ("successes", "rise"),
    ("sync_group", "sync"),
    ("tasksmax", "limits.tasks"),
    ("tasksmax", "tasks"),
    ("tcp", "by"),
    ("tcp", "port"),
    ("threads", "tasks"),
    ("threshold", "fall"),
    ("timeout", "within"),
    ("timeoutstopsec", "stop.timeout"),
    ("track_interface", "track.link"),
    ("track_process", "track.app"),
    ("track_script", "track"),
    ("true", "always"),
    ("type", "by"),
    ("uid", "user"),
    ("unexpected", "on-failure"),
    ("unicast_peer", "peers"),
    ("unicast_peers", "peers"),
    ("unless_stopped", "always"),
    ("update_config", "deploy"),
    ("upstream", "pool"),
    ("upstreams", "pool"),
    ("url", "http"),
    ("username", "user"),
    ("virtual_ip", "vip"),
    ("virtual_ipaddress", "address"),
    ("virtual_router_id", "router_id"),
    ("vrid", "router_id"),
    ("vrrp", "vip"),
    ("vrrp_instance", "vip"),
    ("vrrp_sync_group", "sync"),
    ("wait", "timeout"),
    ("wants", "after"),
    ("watchdog", "alive"),
    ("watchdogsec", "alive"),
    ("window", "within"),
    ("work_dir", "cwd"),
    ("workdir", "cwd"),
    ("workers", "instances"),
    ("working_dir", "cwd"),
    ("working_directory", "cwd"),
    ("workingdirectory", "cwd"),
    ("yes", "always"),
    ("zst", "zstd"),
    ("zstandard", "zstd"),
];

/// The candidate that is most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = plain(word);
    // One slip in three letters is a slip; more is another word.
    let slips_max = (lower.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(&lower, &plain(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= slips_max && distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Our word for what others call `word`, if it or the table that it stands in is a candidate.
pub(crate) fn foreign<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'static str> {
    let word = plain(word);
    let ours: Vec<_> =
        FOREIGN.iter().filter(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours).collect();
    candidates
        .filter_map(|candidate| ours.iter().find(|ours| first_part(ours) == candidate))
        .next()
        .copied()
}

/// The key that stands outermost.
pub(crate) fn first_part(path: &str) -> &str {
    path.split_once('.').map_or(path, |(first, _)| first)
}

fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
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
        assert_eq!(foreign("StopSignal", ["stop"].into_iter()), Some("stop.signal"));
    }
}
