//! Long files and functions are warned about: most want to be split by noun.

use super::Finding;
use super::source::Source;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.code.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("the file has {lines} lines, more than {FILE_LINES_MAX}");
        findings.push(Finding::warning(source.path, 1, what, "split it by noun"));
    }
    for function in source.functions() {
        if function.lines > FUNCTION_LINES_MAX {
            let what = format!(
                "`{}` has {} lines, more than {FUNCTION_LINES_MAX}",
                function.name, function.lines
            );
            let line = source.line(function.at);
            findings.push(Finding::warning(source.path, line, what, "take a callee out of it"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_function_and_a_long_file_are_warned_about() {
        let long = format!("\nfn long() {{{}}}\n", "\n".repeat(FUNCTION_LINES_MAX));
        let found = check(&Source::read("a.rs", &long));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert!(found[0].what.starts_with("`long` has 71 lines"), "{}", found[0].what);

        let longer = "\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(check(&Source::read("a.rs", &longer)).len(), 1);
    }

    #[test]
    fn the_limits_themselves_pass() {
        let text = format!("fn long() {{{}}}", "\n".repeat(FUNCTION_LINES_MAX - 1));
        assert_eq!(check(&Source::read("a.rs", &text)), []);
        assert_eq!(check(&Source::read("a.rs", &"\n".repeat(FILE_LINES_MAX))), []);
    }
}
