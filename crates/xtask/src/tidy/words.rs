//! Words that may stand in some places only.

use super::Finding;
use super::source::Source;

/// The only crate that may say `unsafe`.
const UNSAFE_HOME: &str = "crates/sys/";
/// The only file of the product that reads a clock.
const CLOCK_HOME: &str = "crates/sys/src/clock.rs";
/// Crates of floor 9: they measure and drive the product, and are no part of it.
const DEV_CRATES: [&str; 5] =
    ["crates/bench/", "crates/e2e/", "crates/fuzz/", "crates/sim/", "crates/xtask/"];

/// A word and where it may not stand.
struct Rule {
    pattern: &'static str,
    allowed: fn(&Source<'_>, usize) -> bool,
    what: &'static str,
    mend: &'static str,
}

const RULES: [Rule; 8] = [
    Rule {
        pattern: "unsafe",
        allowed: |source, _| source.path.starts_with(UNSAFE_HOME),
        what: "`unsafe` outside crates/sys",
        mend: "add a safe verb to sys and call that",
    },
    clock("Instant::now"),
    clock("SystemTime::now"),
    clock("clock_gettime"),
    unfinished("todo!("),
    unfinished("unimplemented!("),
    sleep("sleep("),
    sleep("sleep_until("),
];

const fn clock(pattern: &'static str) -> Rule {
    Rule {
        pattern,
        allowed: |source, at| {
            source.path == CLOCK_HOME
                || DEV_CRATES.iter().any(|dir| source.path.starts_with(dir))
                || source.is_test(at) && is_virtual(source, at)
        },
        what: "a clock is read outside crates/sys/src/clock.rs",
        mend: "take the time as an argument, or read sys::clock in the shell",
    }
}

const fn unfinished(pattern: &'static str) -> Rule {
    Rule {
        pattern,
        allowed: |_, _| false,
        what: "code that is not there yet",
        mend: "write it, or return an error that says `unsupported`",
    }
}

const fn sleep(pattern: &'static str) -> Rule {
    Rule {
        pattern,
        allowed: |source, at| !source.is_test(at) || is_definition(source, at),
        what: "a test sleeps",
        mend: "wait for the event itself, or use virtual time",
    }
}

/// Whether the clock at `at` is tokio's, which a test may hold still.
fn is_virtual(source: &Source<'_>, at: usize) -> bool {
    source.code[..at].ends_with("tokio::time::")
}

/// Whether the word at `at` is the name of a function being defined.
fn is_definition(source: &Source<'_>, at: usize) -> bool {
    source.code[..at].trim_end().ends_with("fn")
}

pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &RULES {
        for at in source.find_words(rule.pattern) {
            if !(rule.allowed)(source, at) {
                let line = source.line(at);
                findings.push(Finding::error(source.path, line, rule.what, rule.mend));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::read(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_belongs_to_sys() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nfn a() { unsafe { b() } }\n";
        assert_eq!(lines("crates/gateway/src/a.rs", text), [3]);
        assert_eq!(lines("crates/sys/src/a.rs", text), [0; 0]);
    }

    #[test]
    fn clocks_are_read_in_one_file() {
        let text =
            "let a = Instant::now();\nlet b = SystemTime::now();\nrustix::time::clock_gettime(c);";
        assert_eq!(lines("crates/gateway/src/a.rs", text), [1, 2, 3]);
        assert_eq!(lines("crates/sys/src/wait.rs", text), [1, 2, 3]);
        assert_eq!(lines("crates/sys/src/clock.rs", text), [0; 0]);
        assert_eq!(lines("crates/bench/src/a.rs", text), [0; 0]);
    }

    #[test]
    fn tests_may_read_the_clock_they_hold_still() {
        let text = "let a = tokio::time::Instant::now();\nlet b = Instant::now();";
        assert_eq!(lines("crates/console/tests/serve.rs", text), [2]);
        assert_eq!(lines("crates/console/src/serve.rs", text), [1, 2]);
    }

    #[test]
    fn unfinished_code_is_found_and_talk_of_it_is_not() {
        let text = "todo!();\n// todo!()\nunimplemented!(\"x\");\n\"todo!()\"";
        assert_eq!(lines("crates/core/src/a.rs", text), [1, 3]);
    }

    #[test]
    fn tests_do_not_sleep() {
        let text = "fn a() { std::thread::sleep(d); }\n#[cfg(test)]\nmod tests {\n\
                    fn b() { thread::sleep(d); }\nfn c() { tokio::time::sleep(d).await }\n\
                    fn sleep(x: u8) {}\n}\n";
        assert_eq!(lines("crates/core/src/a.rs", text), [4, 5]);
        assert_eq!(lines("crates/e2e/tests/boot.rs", "fn a() { sleep(d) }"), [1]);
        assert_eq!(lines("crates/e2e/src/bin/app.rs", "fn a() { sleep(d) }"), [0; 0]);
    }
}
