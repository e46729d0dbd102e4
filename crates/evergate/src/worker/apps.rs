//! The apps of a configuration as the keeper wants to hear of them.

use std::time::Duration;

use evergate_config as config;
use evergate_control::link::{
    Alive, App, Backoff, DeployRule, KillScope, Limits, MemoryWatch, OnFailure, Ready, ReadyBy,
    Restart, Socket, StopRule,
};

mod consequences;

pub(super) use consequences::consequences;

/// Every app of `config`.
pub(super) fn desired(config: &config::Config) -> Vec<App> {
    config.apps.iter().map(|(name, app)| desired_app(name, app)).collect()
}

fn desired_app(name: &str, app: &config::App) -> App {
    let config::App {
        run,
        instances,
        env,
        cwd,
        ports,
        user,
        umask,
        socket,
        after,
        ready,
        alive,
        restart,
        backoff,
        stop,
        limits,
        memory_watch,
        output,
        deploy,
        hidden: _,
    } = app;
    App {
        name: name.to_owned(),
        run: run.clone(),
        instances: *instances,
        env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        cwd: cwd.as_ref().and_then(|path| path.to_str()).map(str::to_owned),
        ports: (*ports.start(), *ports.end()),
        user: user.clone(),
        umask: *umask,
        socket: match socket {
            config::Socket::Port => Socket::Port,
            config::Socket::Inherit => Socket::Inherit,
            config::Socket::Unix => Socket::Unix,
        },
        after: after.clone(),
        ready: desired_ready(ready),
        alive: alive
            .as_ref()
            .map(|alive| Alive { fall: alive.fall, restart_after_ms: alive.restart_after.map(ms) }),
        restart: match restart {
            config::Restart::Always => Restart::Always,
            config::Restart::OnFailure => Restart::OnFailure,
            config::Restart::Never => Restart::Never,
        },
        backoff: desired_backoff(backoff),
        stop: desired_stop(stop),
        limits: desired_limits(limits),
        memory_watch: memory_watch
            .as_ref()
            .map(|watch| MemoryWatch { rss: watch.rss, for_ms: ms(watch.over) }),
        keeps_output: match output.to {
            config::OutputTo::Files | config::OutputTo::Stdout => true,
            config::OutputTo::Nowhere => false,
        },
        deploy: desired_deploy(deploy),
    }
}

fn desired_ready(ready: &config::Ready) -> Ready {
    // How to probe is the worker's own affair.
    let config::Ready { by, within, every: _, rise } = ready;
    let by = match by {
        config::ReadyBy::Http(_) | config::ReadyBy::Tcp => ReadyBy::Probe,
        config::ReadyBy::Notify => ReadyBy::Notify,
        config::ReadyBy::Nothing => ReadyBy::Nothing,
    };
    Ready { by, within_ms: ms(*within), rise: *rise }
}

fn desired_backoff(backoff: &config::Backoff) -> Backoff {
    let config::Backoff { base, cap, failures, within, cooldown, stable_after } = backoff;
    Backoff {
        base_ms: ms(*base),
        cap_ms: ms(*cap),
        failures: *failures,
        within_ms: ms(*within),
        cooldown_ms: ms(*cooldown),
        stable_after_ms: ms(*stable_after),
    }
}

fn desired_stop(stop: &config::Stop) -> StopRule {
    let config::Stop { signal, timeout, kill, drain } = stop;
    let kill = match kill {
        config::Kill::Tree => KillScope::Tree,
        config::Kill::Group => KillScope::Group,
        config::Kill::Main => KillScope::Main,
    };
    StopRule { signal: number(*signal), timeout_ms: ms(*timeout), kill, drain_ms: ms(*drain) }
}

/// As Linux numbers signals on every machine that Evergate runs on.
fn number(signal: config::StopSignal) -> i32 {
    match signal {
        config::StopSignal::Hup => 1,
        config::StopSignal::Int => 2,
        config::StopSignal::Quit => 3,
        config::StopSignal::Kill => 9,
        config::StopSignal::Usr1 => 10,
        config::StopSignal::Usr2 => 12,
        config::StopSignal::Term => 15,
        config::StopSignal::Winch => 28,
    }
}

fn desired_limits(limits: &config::AppLimits) -> Limits {
    let config::AppLimits { memory, cpu_percent, files, tasks } = *limits;
    Limits { memory, cpu_percent, files, tasks }
}

fn desired_deploy(deploy: &config::Deploy) -> DeployRule {
    let config::Deploy { surge, unavailable, canary_for, on_failure } = deploy;
    let on_failure = match on_failure {
        config::OnFailure::Abort => OnFailure::Abort,
        config::OnFailure::Rollback => OnFailure::Rollback,
        config::OnFailure::Continue => OnFailure::Continue,
    };
    DeployRule {
        surge: *surge,
        unavailable: *unavailable,
        canary_for_ms: ms(*canary_for),
        on_failure,
    }
}

/// Times of apps are bounded far below the most that fits.
fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(in crate::worker) mod tests {
    use std::path::Path;

    use super::*;

    /// One text in memory.
    struct Memory(String);

    impl config::Files for Memory {
        fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
            Ok(self.0.clone().into_bytes())
        }

        fn list(&self, _directory: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
            Ok(Vec::new())
        }

        fn env(&self, _name: &str) -> Option<String> {
            None
        }

        fn is_user(&self, _name: &str) -> Option<bool> {
            Some(true)
        }
    }

    const TEXT: &str = r#"
        [app.db]
        run = ["db"]
        [app.shop]
        run = ["/opt/shop/server", "--quiet"]
        instances = 2
        env = { MODE = "production", A = "b" }
        cwd = "/opt/shop/current"
        user = "shop"
        umask = "027"
        ports = "21000-21009"
        socket = "inherit"
        after = ["db"]
        ready = { by = "notify", within = "1m" }
        alive = { http = "/alive", fall = 4, restart_after = "90s" }
        restart = "on-failure"
        backoff = { base = "1s", cap = "2s", failures = 5, within = "3s", cooldown = "0s", stable_after = "4s" }
        stop = { signal = "QUIT", timeout = "20s", kill = "group", drain = "40s" }
        limits = { memory = "256MiB", cpu = "150%", files = 4096, tasks = 256 }
        memory_watch = { rss = "200MiB", for = "1m" }
        output.to = "nowhere"
        deploy = { surge = 2, unavailable = 1, canary_for = "15s", on_failure = "rollback" }
    "#;

    /// A configuration that has `apps`.
    pub(in crate::worker) fn config(apps: &str) -> config::Config {
        let text = format!(
            "[listener.web]\nbind = [\"127.0.0.1:0\"]\n\
             [route.all]\nmatch = \"/*\"\nrespond = {{}}\n{apps}"
        );
        let loaded = config::load_with(Path::new("evergate.toml"), &Memory(text));
        loaded.expect("it is right").config
    }

    #[test]
    fn every_key_of_an_app_reaches_the_keeper() {
        let expected = App {
            name: "shop".to_owned(),
            run: vec!["/opt/shop/server".to_owned(), "--quiet".to_owned()],
            instances: 2,
            env: vec![
                ("A".to_owned(), "b".to_owned()),
                ("MODE".to_owned(), "production".to_owned()),
            ],
            cwd: Some("/opt/shop/current".to_owned()),
            ports: (21_000, 21_009),
            user: Some("shop".to_owned()),
            umask: Some(0o027),
            socket: Socket::Inherit,
            after: vec!["db".to_owned()],
            ready: Ready { by: ReadyBy::Notify, within_ms: 60_000, rise: 1 },
            alive: Some(Alive { fall: 4, restart_after_ms: Some(90_000) }),
            restart: Restart::OnFailure,
            backoff: Backoff {
                base_ms: 1000,
                cap_ms: 2000,
                failures: 5,
                within_ms: 3000,
                cooldown_ms: 0,
                stable_after_ms: 4000,
            },
            stop: StopRule {
                signal: 3,
                timeout_ms: 20_000,
                kill: KillScope::Group,
                drain_ms: 40_000,
            },
            limits: Limits {
                memory: Some(256 << 20),
                cpu_percent: Some(150),
                files: Some(4096),
                tasks: Some(256),
            },
            memory_watch: Some(MemoryWatch { rss: 200 << 20, for_ms: 60_000 }),
            keeps_output: false,
            deploy: DeployRule {
                surge: 2,
                unavailable: 1,
                canary_for_ms: 15_000,
                on_failure: OnFailure::Rollback,
            },
        };
        assert_eq!(desired(&config(TEXT))[1], expected);
    }

    #[test]
    fn defaults_are_the_same_on_both_sides_of_the_link() {
        let expected = App {
            name: "db".to_owned(),
            run: vec!["db".to_owned()],
            instances: 1,
            ports: (20_000, 20_999),
            keeps_output: true,
            ..App::default()
        };
        assert_eq!(desired(&config(TEXT))[0], expected);
    }

    #[test]
    fn signals_have_the_numbers_of_this_machine() {
        use config::StopSignal::{Hup, Int, Kill, Quit, Term, Usr1, Usr2, Winch};
        let signals = [
            (Hup, "HUP"),
            (Int, "INT"),
            (Quit, "QUIT"),
            (Kill, "KILL"),
            (Usr1, "USR1"),
            (Usr2, "USR2"),
            (Term, "TERM"),
            (Winch, "WINCH"),
        ];
        for (signal, name) in signals {
            assert_eq!(evergate_sys::signal::name(number(signal)), Some(name));
        }
    }
}
