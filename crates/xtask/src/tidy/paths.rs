//! No file names a path of the machine it was written on.

use super::{File, Finding};

/// Folders of particular machines. Written in two parts so that this file passes its own rule.
const FOREIGN: [&str; 4] = [
    concat!("/wo", "rk"),
    concat!("/tmp", "/wt"),
    concat!("/tmp", "/eg"),
    concat!("/tmp", "/target"),
];

pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for path in FOREIGN {
            if line.match_indices(path).any(|(at, _)| stands_alone(line, at, path.len())) {
                let what = format!("`{path}` is a path of one machine");
                let mend = "make it relative, or use a temporary folder";
                findings.push(Finding::error(&file.path, index + 1, what, mend));
            }
        }
    }
    findings
}

/// Whether the path at `at` begins there and its last name is whole.
fn stands_alone(line: &str, at: usize, length: usize) -> bool {
    let before = line[..at].chars().next_back();
    let after = line[at + length..].chars().next();
    let begins = before.is_none_or(|c| !c.is_alphanumeric() && !"_-./}*".contains(c));
    begins && after.is_none_or(|c| !c.is_alphanumeric() && !"_-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: String) -> Vec<usize> {
        let file = File { path: "a.md".to_owned(), text };
        check(&file).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let [work, tree, ..] = FOREIGN;
        assert_eq!(lines(format!("a\nsee `{work}/main`\n\"{tree}\"")), [2, 3]);
        assert_eq!(lines(work.to_owned()), [1]);
    }

    #[test]
    fn longer_names_and_inner_parts_are_not() {
        let work = FOREIGN[0];
        assert_eq!(lines(format!("{work}er/a\nsrc{work}/b\nhttps://a.example{work}\n")), [0; 0]);
    }
}
