use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use evergate_control::snapshot::{
    AcmeStats, CertificateStatus, DeployStatus, Histogram, InstanceStatus, ListenerStats,
    OutputCounts, PathStatus, PeerStatus, RouteStats, TrackStatus, VipAddressStatus,
    VipCountsStatus, VipStatus,
};

use super::*;

fn vip() -> VipStatus {
    VipStatus {
        name: "web".into(),
        addresses: vec![VipAddressStatus { address: "10.0.0.100/24".into(), is_here: true }],
        role: "master".into(),
        epoch: 1_790_000_001,
        effective_priority: 204,
        rival: Some("10.0.0.12".into()),
        tracked: vec![TrackStatus {
            subject: "pool.api".into(),
            effect: "-50".into(),
            failure: Some("no server is up".into()),
        }],
        counts: VipCountsStatus {
            turns: 3,
            splits: 1,
            refused: 5,
            refused_auth: 7,
            ..Default::default()
        },
        ..VipStatus::default()
    }
}

fn peer() -> PeerStatus {
    let path = PathStatus { address: "10.0.0.12".into(), is_heard: true, ..PathStatus::default() };
    PeerStatus {
        name: "edge-b".into(),
        state: "alive".into(),
        paths: vec![path],
        ..PeerStatus::default()
    }
}

fn full() -> Stats {
    let server = ServerStatus {
        name: "shop/0".into(),
        state: "up".into(),
        weight: 3,
        weight_percent: 50,
        in_flight: 2,
        requests: 40,
        failures: 1,
        latency_seconds: 0.0125,
        ..ServerStatus::default()
    };
    Stats {
        workers: vec![("primary".into(), 1), ("draining".into(), 1)],
        upgrades: vec![("done".into(), 2), ("returned".into(), 1)],
        keeper_execs: 2,
        vips: vec![vip()],
        peers: vec![peer()],
        is_in_maintenance: true,
        timer_lateness_us: 250,
        version: "0.1.0".into(),
        started_at: 1_790_000_000,
        worker_generation: 2,
        resident_bytes: vec![("keeper".into(), 3_000_000), ("worker".into(), 9_000_000)],
        cpu_seconds: vec![("keeper".into(), 0.25), ("worker".into(), 12.5)],
        open_fds: 40,
        config_generation: 1,
        reloads: 1,
        reloads_failed: 1,
        config_last_reload_ok: false,
        listeners: vec![ListenerStats {
            name: "web".into(),
            connections: 5,
            connections_max: 20_000,
            accepted: 100,
            rejected: vec![("connections".into(), 0), ("connections_per_ip".into(), 7)],
            protocols: vec![("http/1.1".into(), 60), ("h2".into(), 40)],
            floods: vec![("rapid_reset".into(), 1)],
            proxy_refused: vec![("untrusted".into(), 2)],
            tls: Some(TlsStats {
                handshakes: vec![("TLSv1.2".into(), 1), ("TLSv1.3".into(), 8)],
                resumed: 3,
                failures: vec![("timeout".into(), 2)],
            }),
        }],
        routes: vec![RouteStats {
            name: "api".into(),
            pool: "p\"o\\o\nl".into(),
            statuses: vec![(200, 9), (503, 1)],
            duration: Histogram {
                buckets: vec![(0.0005, 1), (0.0011, 2), (0.9, 3), (70.0, 4)],
                sum: Duration::from_millis(280_500),
                count: 10,
            },
            received_bytes: 11,
            sent_bytes: 12,
        }],
        pools: vec![PoolStats {
            name: "shop".into(),
            retries: 1,
            servers: vec![server],
            connects: 3,
            reuses: 37,
            ..PoolStats::default()
        }],
        certificates: vec![CertificateStatus {
            listener: "web".into(),
            source: "file".into(),
            names: vec!["a.example".into(), "b.example".into()],
            not_after: 1_800_000_000,
            ..CertificateStatus::default()
        }],
        rejects: vec![("bad_request".into(), 4)],
        log_lines: 10,
        acme: vec![AcmeStats {
            name: "le".into(),
            orders: vec![("issued".into(), 2), ("rate_limited".into(), 1)],
            not_after: 1_797_776_000,
            renew_at: 1_795_184_000,
        }],
        apps: vec![
            run(0, 7, "draining", 30.5),
            run(0, 8, "ready", 0.25),
            InstanceStatus {
                pid: None,
                resident_bytes: None,
                cpu_seconds: None,
                memory_limit_bytes: None,
                ..run(1, 4, "fatal", 0.0)
            },
        ],
        deploys: vec![DeployStatus {
            app: "shop".into(),
            number: 3,
            phase: "rolling".into(),
            done: 1,
            of: 4,
            ..DeployStatus::default()
        }],
        ..Stats::default()
    }
}

fn run(number: u16, generation: u32, state: &str, cpu: f64) -> InstanceStatus {
    InstanceStatus {
        app: "shop".into(),
        number,
        state: state.into(),
        pid: Some(100 + generation),
        generation,
        exits: 6,
        failures: 2,
        failures_max: 10,
        resident_bytes: Some(1000),
        memory_limit_bytes: Some(1 << 28),
        cpu_seconds: Some(cpu),
        in_flight: 2,
        output: OutputCounts { lines: 12, bytes: 340, dropped_bytes: 5 },
        ..InstanceStatus::default()
    }
}

#[test]
fn no_series_is_there_twice_while_instances_are_replaced() {
    let text = encode(metrics(), &full(), Format::Text);
    let mut series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count);
}

#[test]
fn every_metric_of_a_busy_node_is_shown() {
    let text = encode(metrics(), &full(), Format::Text);
    for metric in metrics() {
        assert!(text.contains(&format!("# HELP {} ", metric.name)), "{} is missing", metric.name);
    }
    for line in [
        "evergate_build_info{version=\"0.1.0\"} 1",
        r#"evergate_requests_total{route="api",pool="p\"o\\o\nl",code="503"} 1"#,
        "evergate_listener_rejected_total{listener=\"web\",reason=\"connections_per_ip\"} 7",
        "evergate_proxy_protocol_refused_total{listener=\"web\",reason=\"untrusted\"} 2",
        "evergate_tls_handshakes_total{listener=\"web\",version=\"TLSv1.3\"} 8",
        "evergate_tls_resumed_total{listener=\"web\"} 3",
        "evergate_tls_handshake_failures_total{listener=\"web\",reason=\"timeout\"} 2",
        r#"evergate_certificate_not_after_seconds{listener="web",source="file",name="a.example"} 1800000000"#,
        "evergate_server_weight{pool=\"shop\",server=\"shop/0\"} 1.5",
        "evergate_config_reloads_total{outcome=\"refused\"} 1",
        "evergate_config_last_reload_successful 0",
        "evergate_process_cpu_seconds_total{role=\"worker\"} 12.5",
        "evergate_acme_orders_total{acme=\"le\",outcome=\"rate_limited\"} 1",
        "evergate_acme_not_after_seconds{acme=\"le\"} 1797776000",
        "evergate_acme_renew_at_seconds{acme=\"le\"} 1795184000",
        "evergate_app_instance_up{app=\"shop\",instance=\"0\"} 1",
        "evergate_app_instance_up{app=\"shop\",instance=\"1\"} 0",
        "evergate_app_instance_state{app=\"shop\",instance=\"0\",state=\"draining\"} 1",
        "evergate_app_instance_state{app=\"shop\",instance=\"0\",state=\"ready\"} 1",
        "evergate_app_instance_state{app=\"shop\",instance=\"0\",state=\"stuck\"} 0",
        "evergate_app_starts_total{app=\"shop\",instance=\"0\"} 8",
        "evergate_app_exits_total{app=\"shop\",instance=\"0\"} 6",
        "evergate_app_failures{app=\"shop\",instance=\"0\"} 2",
        "evergate_app_failures_limit{app=\"shop\",instance=\"0\"} 10",
        "evergate_app_in_flight{app=\"shop\",instance=\"0\"} 4",
        "evergate_app_resident_bytes{app=\"shop\",instance=\"0\"} 2000",
        "evergate_app_memory_limit_bytes{app=\"shop\",instance=\"0\"} 268435456",
        "evergate_app_cpu_seconds_total{app=\"shop\",instance=\"0\"} 0.25",
        "evergate_app_output_lines_total{app=\"shop\",instance=\"0\"} 12",
        "evergate_app_output_dropped_bytes_total{app=\"shop\",instance=\"0\"} 5",
        "evergate_app_deploys_total{app=\"shop\"} 3",
        "evergate_app_deploy_phase{app=\"shop\",phase=\"rolling\"} 1",
        "evergate_app_deploy_phase{app=\"shop\",phase=\"failed\"} 0",
        "evergate_app_deploy_done_ratio{app=\"shop\"} 0.25",
    ] {
        assert!(text.lines().any(|shown| shown == line), "no line {line} in\n{text}");
    }
}

#[test]
fn buckets_count_up_and_end_with_the_whole_count() {
    let mut stats = full();
    stats.routes[0].pool = String::new();
    let text = encode(metrics(), &stats, Format::Text);
    let counts: Vec<(&str, u64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("evergate_request_duration_seconds_bucket"))
        .map(|line| {
            let (labels, count) = line.split_once("} ").unwrap();
            (labels.split("le=").nth(1).unwrap().trim_matches('"'), count.parse().unwrap())
        })
        .collect();
    assert_eq!(counts.len(), 17);
    assert!(counts.is_sorted_by_key(|(_, count)| *count), "{counts:?}");
    // A source bucket that straddles a bound counts only from the next bound on.
    for expected in
        [("0.0005", 1), ("0.001", 1), ("0.0025", 3), ("1.0", 6), ("60.0", 6), ("+Inf", 10)]
    {
        assert!(counts.contains(&expected), "{expected:?} not in {counts:?}");
    }
}

#[test]
fn open_metrics_names_families_its_own_way() {
    let text = encode(metrics(), &full(), Format::OpenMetrics);
    for line in [
        "# TYPE evergate_build info",
        "evergate_build_info{version=\"0.1.0\"} 1",
        "# TYPE evergate_requests counter",
        "# UNIT evergate_process_cpu_seconds seconds",
        "# UNIT evergate_request_duration_seconds seconds",
        "evergate_log_lines_total 10",
    ] {
        assert!(text.lines().any(|shown| shown == line), "no line {line} in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
    assert_eq!(encode(&[], &full(), Format::OpenMetrics), "# EOF\n");
}

#[test]
fn names_follow_the_rules() {
    for (index, metric) in metrics().enumerate() {
        let Metric { name, kind, help, .. } = metric;
        assert!(name.starts_with("evergate_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_info"), *kind == Kind::Info, "{name}");
        assert!(!help.contains(['\\', '"', '\n']) && help.ends_with('.'), "{name}: {help}");
        assert!(metrics().take(index).all(|other| other.name != *name), "{name} twice");
    }
}

#[test]
fn the_caller_chooses_the_format() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;\
                      q=0.5,*/*;q=0.1";
    let table = [
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/html, */*;q=0.8", Format::Text),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/openmetrics-text; version=1.0.0; q=0.2, text/plain", Format::Text),
        ("application/openmetrics-text;q=0", Format::Text),
        ("application/openmetrics-text;q=nonsense", Format::Text),
        (prometheus, Format::OpenMetrics),
    ];
    for (accept, expected) in table {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(negotiate(&headers), expected, "{accept}");
    }
}

#[test]
fn promtool_finds_nothing_wrong() {
    for stats in [full(), Stats::default()] {
        promtool(&encode(metrics(), &stats, Format::Text));
    }
}

fn promtool(text: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("EVERGATE_CI").is_none(), "promtool is not installed");
        // The harness hides what tests print unless it is asked; the reader of a log looks here.
        let _ = writeln!(std::io::stderr(), "skipped: promtool is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
