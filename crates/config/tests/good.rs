//! Files that are right: what they mean, and what formatting, showing, remembering keep of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evergate_config::{
    Action, Alive, AliveBy, AppLimits, Backoff, Config, Deploy, Host, Kill, Loaded, MemoryWatch,
    Middleware, OnFailure, Output, OutputTo, Ready, ReadyBy, Restart, Rewrite, Socket, Stop,
    StopSignal, Target, ValueMatch, VipAuth, VipChecksum, format, load_with, recall, remember,
    render, schema, to_toml,
};
use evergate_core::peer;
use evergate_core::rng::Rng;
use evergate_core::track::{Effect, Rule, Subject};
use evergate_core::vrrp::{Policy, Version};
use serde_json::Value;

mod support;

use support::Fixture;

#[track_caller]
fn loaded(fixture: &Fixture, name: &str) -> Loaded {
    load_with(Path::new(&format!("{name}.toml")), fixture)
        .unwrap_or_else(|diagnostics| panic!("{name}: {}", render(&diagnostics, false)))
}

/// The same without the places, which formatting changes.
fn without_origins(mut config: Config) -> Config {
    config.routes.values_mut().for_each(|route| route.origin.clear());
    config.files.clear();
    config
}

/// A text in place of a file, beside the files of the fixture.
struct Replaced<'a>(&'a Fixture, String);

impl evergate_config::Files for Replaced<'_> {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let is_main = path == Path::new("evergate.toml");
        if is_main { Ok(self.1.clone().into_bytes()) } else { self.0.read(path) }
    }

    fn list(&self, directory: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        self.0.list(directory)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.0.env(name)
    }

    fn is_user(&self, name: &str) -> Option<bool> {
        self.0.is_user(name)
    }

    fn host_name(&self) -> String {
        self.0.host_name()
    }
}

fn load_text(fixture: &Fixture, text: String) -> Config {
    let path = Path::new("evergate.toml");
    match load_with(path, &Replaced(fixture, text.clone())) {
        Ok(loaded) => without_origins(loaded.config),
        Err(diagnostics) => panic!("{text}\n{}", render(&diagnostics, false)),
    }
}

#[test]
fn good_files_have_no_warnings() {
    let fixture = Fixture::new("good");
    for name in fixture.names() {
        let warnings = loaded(&fixture, &name).warnings;
        assert!(warnings.is_empty(), "{name}: {}", render(&warnings, false));
    }
}

#[test]
fn defaults_are_those_of_the_documents() {
    let config = loaded(&Fixture::new("good"), "minimal").config;
    let limits = config.listeners["web"].limits;
    assert_eq!((limits.connections, limits.connections_per_ip), (20_000, 128));
    assert_eq!((limits.header, limits.headers, limits.uri), (32 << 10, 100, 8 << 10));
    assert_eq!((limits.body, limits.requests, limits.body_rate_min), (10 << 20, 1000, 1024));
    assert_eq!(limits.header_timeout, Duration::from_secs(10));
    assert_eq!(limits.idle_timeout, Duration::from_secs(60));
    assert_eq!(limits.body_grace, Duration::from_secs(5));
    assert_eq!(config.node.name, "edge-a");
    assert_eq!(config.node.run_dir, Path::new("/run/evergate"));
    assert_eq!((config.node.threads, config.node.user.as_str()), (None, "nobody"));
    assert_eq!(config.admin.allow.len(), 2);
    assert_eq!(config.routes["all"].timeout, Duration::from_secs(60));
    let Action::Respond { status, body, content_type } = &config.routes["all"].action else {
        panic!("it responds")
    };
    assert_eq!((*status, body.as_str()), (200, ""));
    assert_eq!(content_type, "text/plain; charset=utf-8");

    let pool = &loaded(&Fixture::new("good"), "pools").config.pools["b"];
    assert_eq!((pool.keepalive, pool.connect_timeout), (64, Duration::from_secs(1)));
    assert_eq!((pool.retry.attempts_max, pool.retry.budget_percent), (2, 20));
    let on = pool.retry.on;
    assert!(on.connect && on.status_502 && on.status_503 && on.status_504);
    assert!(!on.timeout && !on.status_500 && !on.non_idempotent);
    assert_eq!((pool.outlier.consecutive, pool.outlier.ejected_percent_max), (5, 50));
    assert_eq!((pool.outlier.eject, pool.slow_start), (Duration::from_secs(30), Duration::ZERO));
}

#[test]
fn pools_mean_what_they_say() {
    let config = loaded(&Fixture::new("good"), "pools").config;
    let pool = &config.pools["a"];
    let target = Target::Url { tls: false, host: "fd00::7".to_owned(), port: 8080 };
    assert_eq!((&pool.servers["x"].target, pool.servers["x"].weight), (&target, 0));
    assert_eq!(pool.servers["y"].target, Target::App("shop".to_owned()));
    assert_eq!(pool.outlier.consecutive, u32::MAX, "0 is never");
    assert_eq!(pool.checks.len(), 2);
    let every = Duration::from_millis(500);
    assert_eq!((pool.checks[0].policy.every, pool.checks[0].policy.timeout), (every, every));
    let Rewrite::StripPrefix(prefix) = &config.routes["a"].rewrite else { panic!("it strips") };
    assert_eq!(prefix, "/a");
}

#[test]
fn apps_mean_what_they_say() {
    let config = loaded(&Fixture::new("good"), "apps").config;
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let shop = &config.apps["shop"];
    assert_eq!((shop.user.as_deref(), shop.umask), (Some("shop"), Some(0o027)));
    assert_eq!(
        (shop.socket, &shop.after[..]),
        (Socket::Inherit, &["db", "cache"].map(str::to_owned)[..])
    );
    let every = Duration::from_millis(200);
    let by = ReadyBy::Http("/health?deep=1".to_owned());
    assert_eq!(shop.ready, Ready { by, within: minute, every, rise: 2 });
    let alive = Alive {
        by: AliveBy::Http("/alive".to_owned()),
        every: 5 * second,
        timeout: 2 * second,
        fall: 4,
        restart_after: Some(minute),
    };
    assert_eq!(shop.alive, Some(alive));
    let backoff = Backoff {
        base: second,
        cap: minute,
        failures: 5,
        within: 5 * minute,
        cooldown: Duration::ZERO,
        stable_after: 2 * minute,
    };
    assert_eq!((shop.restart, shop.backoff), (Restart::OnFailure, backoff));
    let (signal, kill) = (StopSignal::Quit, Kill::Group);
    assert_eq!(shop.stop, Stop { signal, timeout: 20 * second, kill, drain: Duration::ZERO });
    let limits = AppLimits {
        memory: Some(256 << 20),
        cpu_percent: Some(150),
        files: Some(4096),
        tasks: Some(256),
    };
    assert_eq!(shop.limits, limits);
    assert_eq!(shop.memory_watch, Some(MemoryWatch { rss: 200 << 20, over: minute }));
    assert_eq!(shop.output, Output { to: OutputTo::Files, max: 1 << 20, keep: 1 });
    let (canary_for, on_failure) = (Duration::ZERO, OnFailure::Rollback);
    assert_eq!(shop.deploy, Deploy { surge: 0, unavailable: 1, canary_for, on_failure });
    let next = &config.apps["next"];
    assert_eq!((&next.ready.by, next.umask), (&ReadyBy::Notify, Some(0)));
    assert_eq!(next.alive.as_ref().map(|alive| &alive.by), Some(&AliveBy::Tcp));
    assert_eq!(config.apps["db"].ready.by, ReadyBy::Nothing);
}

#[test]
fn defaults_of_apps_are_those_of_the_model() {
    let app = &loaded(&Fixture::new("good"), "pools").config.apps["shop"];
    assert_eq!((app.instances, &app.ports), (1, &(20_000..=20_999)));
    assert_eq!((app.ready.clone(), app.alive.clone()), (Ready::default(), None));
    assert_eq!((app.socket, app.restart), (Socket::default(), Restart::default()));
    assert_eq!((app.backoff, app.stop), (Backoff::default(), Stop::default()));
    assert_eq!((app.limits, app.memory_watch), (AppLimits::default(), None));
    assert_eq!((app.output, app.deploy), (Output::default(), Deploy::default()));
    assert_eq!((&app.user, app.umask, &app.after[..]), (&None, None, &[][..]));
}

#[test]
fn virtual_addresses_mean_what_they_say() {
    let config = loaded(&Fixture::new("good"), "pair").config;
    let millis = Duration::from_millis;
    let web = &config.vips["web"];
    let policy = Policy {
        version: Version::V3,
        router_id: 51,
        priority: 200,
        interval: millis(50),
        preempt: true,
        preempt_delay: millis(3000),
        startup_delay: millis(1000),
        announce_repeat: 3,
        announce_refresh: None,
    };
    assert_eq!(web.policy, policy);
    assert_eq!(web.addresses[1].to_string(), "10.0.0.101/24");
    assert_eq!((web.checksum, web.sync.as_deref()), (VipChecksum::PseudoHeader, Some("pair")));
    assert_eq!((web.on_change.len(), web.on_change_timeout), (2, millis(5000)));
    assert_eq!(web.drain, Duration::from_secs(120));
    let rule = |subject, effect, fall, rise| Rule { subject, effect, fall, rise };
    let name = str::to_owned;
    let (none, second) = (Duration::ZERO, millis(1000));
    let gateway = "10.0.0.1".parse().expect("an address");
    let expected = [
        rule(Subject::Listener(name("web")), Effect::Fault, none, second),
        rule(Subject::Pool(name("api")), Effect::Fault, millis(200), millis(2000)),
        rule(Subject::App(name("shop")), Effect::Weight(-50), none, second),
        rule(Subject::Link(name("eth0")), Effect::Fault, none, second),
        rule(Subject::Link(name("eth1.7")), Effect::Weight(-100), none, second),
        rule(Subject::Gateway(gateway), Effect::Weight(20), second, second),
    ];
    assert_eq!(web.track, expected);
    let own = rule(Subject::Link(name("eth0")), Effect::Fault, millis(100), second);
    assert_eq!(config.vips["web6"].track, [own], "`link` alone is the interface");
    assert!(config.vips["web6"].is_v6() && !web.is_v6());
    let old = &config.vips["old"];
    assert_eq!((old.policy.version, old.policy.interval), (Version::V2, millis(2000)));
    assert_eq!(old.track[0].subject, Subject::Link(name("eth1")));
    assert_eq!(old.track[1].effect, Effect::Weight(0), "its answer is only shown");
}

#[test]
fn defaults_of_virtual_addresses_are_those_of_the_documents() {
    let config = loaded(&Fixture::new("good"), "pair_alone").config;
    let vip = &config.vips["web"];
    let policy = Policy {
        version: Version::V3,
        router_id: 51,
        priority: 254,
        interval: Duration::from_millis(30),
        preempt: false,
        preempt_delay: Duration::from_secs(5),
        startup_delay: Duration::ZERO,
        announce_repeat: 5,
        announce_refresh: Some(Duration::from_secs(60)),
    };
    assert_eq!(vip.policy, policy);
    assert_eq!((&vip.auth, vip.checksum), (&VipAuth::None, VipChecksum::Auto));
    assert!(vip.peers.is_empty() && vip.track.is_empty() && vip.sync.is_none());
    assert_eq!(vip.on_change_timeout, Duration::from_secs(10));
    assert_eq!(vip.drain, Duration::from_secs(600));
    let heartbeat = &config.heartbeat;
    let (interval, secret) = (Duration::from_millis(100), None);
    assert_eq!(heartbeat.policy, peer::Policy { interval, missing: 3, port: 7947 });
    assert_eq!(heartbeat.secret, secret);
}

#[test]
fn secrets_of_virtual_addresses_and_heartbeats_are_not_shown() {
    let loaded = loaded(&Fixture::new("good"), "pair_secrets");
    let VipAuth::Pass(pass) = &loaded.config.vips["old"].auth else { panic!("it has a password") };
    assert_eq!(pass.expose(), "s3cret12");
    assert!(matches!(loaded.config.vips["web"].auth, VipAuth::Hmac(_)));
    let peer = &loaded.config.peers["edge-b"];
    assert_eq!((peer.addresses.len(), peer.tcp.len(), peer.http.len()), (2, 1, 2));
    for shown in [format!("{loaded:?}"), to_toml(&loaded.config)] {
        assert!(!shown.contains("s3cret") && !shown.contains("0123456789"), "{shown}");
    }
    assert_eq!(to_toml(&loaded.config).matches("***").count(), 3);
}

#[test]
fn hosts_and_conditions_mean_what_they_say() {
    let config = loaded(&Fixture::new("good"), "hosts").config;
    assert_eq!(config.routes["exact"].host, Host::Exact("example.org".to_owned()));
    assert_eq!(config.routes["exact"].path, "/{*rest}");
    assert_eq!(config.routes["below"].host, Host::Below("example.org".to_owned()));
    assert_eq!(config.routes["any"].host, Host::Any);
    assert!(config.routes["image"].origin.starts_with("hosts.toml:"));
    let config = loaded(&Fixture::new("good"), "shadows").config;
    let header = &config.routes["beta"].headers[0];
    assert_eq!(header.value, ValueMatch::Regex("[0-9]+".to_owned()));
    assert_eq!(config.route_specs().len(), config.routes.len());
}

#[test]
fn values_come_from_the_environment_and_from_files() {
    let loaded = loaded(&Fixture::new("good"), "substituted");
    assert_eq!(loaded.config.routes["all"].host, Host::Exact("site-a.example.org".to_owned()));
    let Middleware::ApiKey(keys) = &loaded.config.middleware["partners"] else {
        panic!("it asks for a key")
    };
    let keys: Vec<_> = keys.keys.iter().map(|key| key.expose()).collect();
    assert_eq!(keys, ["key-one", "key-two", "key-three"]);
    assert_eq!(loaded.config.files.len(), 2, "the file of keys is watched too");
    let shop = &loaded.config.apps["shop"];
    assert!(shop.run[2].starts_with("site-a") && shop.env["KEYS"].contains("key-"));
    for shown in [format!("{loaded:?}"), to_toml(&loaded.config)] {
        assert!(!shown.contains("key-") && shown.contains("shown"), "{shown}");
    }
    let shown: Vec<_> = shop.shown_run().collect();
    assert_eq!(shown, [Some("/bin/shop"), Some("--site"), None]);
}

#[test]
fn included_files_are_part_of_it_but_hidden_files_and_copies_are_not() {
    let loaded = loaded(&Fixture::new("good"), "included");
    assert!(loaded.config.pools.contains_key("api"));
    let names: Vec<_> = loaded.sources.iter().map(|source| source.path.clone()).collect();
    assert_eq!(names, [Path::new("included.toml"), Path::new("more/pool.toml")]);
}

#[test]
fn formatting_keeps_the_meaning_of_good_files_and_is_done_once() {
    let fixture = Fixture::new("good");
    for name in fixture.names() {
        let text = fs::read_to_string(fixture.path(&format!("{name}.toml"))).expect("it is there");
        let formatted = format(&text).expect("it is TOML");
        assert_eq!(format(&formatted).expect("it is TOML still"), formatted, "{name}");
        let config = without_origins(loaded(&fixture, &name).config);
        assert_eq!(load_text(&fixture, formatted), config, "{name}");
    }
}

#[test]
fn formatting_wrong_files_is_done_once_too() {
    let fixture = Fixture::new("data");
    for name in fixture.names() {
        let text = fs::read_to_string(fixture.path(&format!("{name}.toml"))).expect("it is there");
        let Ok(formatted) = format(&text) else { continue };
        assert_eq!(format(&formatted).expect("it is TOML still"), formatted, "{name}");
    }
}

#[test]
fn the_effective_configuration_loads_as_itself() {
    let fixture = Fixture::new("good");
    let has_no_secrets = |name: &String| name != "substituted" && name != "pair_secrets";
    for name in fixture.names().into_iter().filter(has_no_secrets) {
        let config = without_origins(loaded(&fixture, &name).config);
        assert_eq!(load_text(&fixture, to_toml(&config)), config, "{name}");
    }
}

#[test]
fn what_is_remembered_is_recalled() {
    let fixture = Fixture::new("good");
    for name in fixture.names() {
        let loaded = loaded(&fixture, &name);
        let recalled = recall(&remember(&loaded)).expect("it was just remembered");
        assert_eq!(recalled.config, loaded.config, "{name}");
        assert_eq!(recalled.sources, loaded.sources, "{name}");
        assert_eq!(recalled.warnings, loaded.warnings, "{name}");
    }
}

#[test]
fn a_damaged_memory_is_refused_and_never_panics() {
    let blob = remember(&loaded(&Fixture::new("good"), "substituted"));
    for end in 0..blob.len() {
        // A cut between two entries leaves a smaller memory, which may load or not.
        drop(recall(&blob[..end]));
    }
    assert!(recall(b"").is_err() && recall(b"EGC0").is_err());
    assert!(recall(&blob[..blob.len() - 1]).is_err());
    let mut rng = Rng::seeded(1);
    for _ in 0..500 {
        let mut damaged = blob.clone();
        let at = rng.below(damaged.len() as u32) as usize;
        damaged[at] = rng.below(256) as u8;
        drop(recall(&damaged));
    }
}

/// Slips of the finger in every file we have: an answer each time, and never a panic.
#[test]
fn no_text_makes_it_panic() {
    const MUTATIONS: u64 = 40;
    for directory in ["good", "data"] {
        let fixture = Fixture::new(directory);
        for name in fixture.names() {
            let text = fs::read(fixture.path(&format!("{name}.toml"))).expect("it is there");
            for seed in 0..MUTATIONS {
                let mut rng = Rng::seeded(seed);
                let mut text = text.clone();
                for _ in 0..=rng.below(3) {
                    mutate(&mut text, &mut rng);
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                let replaced = Replaced(&fixture, text.clone());
                match load_with(Path::new("evergate.toml"), &replaced) {
                    Ok(loaded) => drop(to_toml(&loaded.config)),
                    Err(diagnostics) => drop(render(&diagnostics, true)),
                }
                if let Ok(once) = format(&text) {
                    assert_eq!(format(&once).as_ref(), Ok(&once), "{name} seed {seed}: {text}");
                }
            }
        }
    }
}

fn mutate(text: &mut Vec<u8>, rng: &mut Rng) {
    const LETTERS: &[u8] = b"\"'[]{}=.#\n\\,$ *x0\xc3";
    if text.is_empty() {
        return;
    }
    let at = rng.below(text.len() as u32) as usize;
    let letter = LETTERS[rng.below(LETTERS.len() as u32) as usize];
    match rng.below(4) {
        0 => drop(text.remove(at)),
        1 => text.insert(at, letter),
        2 => text[at] = letter,
        _ => {
            let end = (at + 1 + rng.below(20) as usize).min(text.len());
            let piece: Vec<u8> = text[at..end].to_vec();
            text.splice(at..at, piece);
        }
    }
}

#[test]
fn the_schema_accepts_good_files_and_refuses_unknown_keys() {
    let schema = schema();
    let fixture = Fixture::new("good");
    for name in fixture.names() {
        let text = fs::read_to_string(fixture.path(&format!("{name}.toml"))).expect("it is there");
        let file: toml::Table = text.parse().expect("it is TOML");
        let file = serde_json::to_value(file).expect("no dates, no NaN");
        assert_eq!(validate(&schema, &file, &name), Ok(()));
    }
    let right = serde_json::json!({ "listener": { "web": { "bind": ["127.0.0.1:1"] } } });
    assert_eq!(validate(&schema, &right, "right"), Ok(()));
    let mut wrong = right.clone();
    wrong["listener"]["web"]["prot"] = 1.into();
    let unknown = Err("wrong.listener.web.prot is not in the schema".to_owned());
    assert_eq!(validate(&schema, &wrong, "wrong"), unknown);
    let mut wrong = right;
    wrong["listener"]["web"]["limits"] = serde_json::json!({ "idle_timeout": "60" });
    assert!(validate(&schema, &wrong, "wrong").is_err(), "a duration has a unit");
}

/// As much of JSON Schema as ours needs: types, keys, words, bounds.
fn validate(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let fits = choices.iter().any(|choice| type_fits(choice, value));
        return if fits { Ok(()) } else { Err(format!("{path}: {value} is none of {choices:?}")) };
    }
    if !type_fits(schema, value) {
        return Err(format!("{path}: {value} is no {schema}"));
    }
    for (key, child) in value.as_object().into_iter().flatten() {
        let child_path = format!("{path}.{key}");
        let pattern = schema["patternProperties"].as_object().and_then(|all| all.values().next());
        let property = schema["properties"].get(key).or(pattern);
        match property.unwrap_or(&schema["additionalProperties"]) {
            Value::Bool(false) => return Err(format!("{child_path} is not in the schema")),
            Value::Object(_) => {
                let property = property.unwrap_or(&schema["additionalProperties"]);
                validate(property, child, &child_path)?;
            }
            _ => {}
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("names are text");
        if value.get(name).is_none() {
            return Err(format!("{path} needs {name}"));
        }
    }
    let items = value.as_array().into_iter().flatten();
    items.into_iter().try_for_each(|item| validate(&schema["items"], item, path))
}

fn type_fits(schema: &Value, value: &Value) -> bool {
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    if let Some(word) = schema.get("const") {
        return word == value;
    }
    let pattern = schema["pattern"].as_str();
    match schema["type"].as_str() {
        Some("string") => value.as_str().is_some_and(|text| {
            pattern.is_none_or(|p| regex_lite::Regex::new(p).expect("it compiles").is_match(text))
        }),
        Some("integer") => value.as_i64().is_some_and(|number| {
            schema["minimum"].as_i64().is_some_and(|least| number >= least)
                && schema["maximum"].as_i64().is_some_and(|most| number <= most)
        }),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}
