//! Links between the repository's own documents lead somewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let paths: BTreeSet<&str> =
        tree.files.iter().flat_map(|file| with_folders(&file.path)).collect();
    let anchors: BTreeMap<&str, BTreeSet<String>> = tree
        .files
        .iter()
        .filter(|file| file.path.ends_with(".md"))
        .map(|file| (file.path.as_str(), anchors(&file.text)))
        .collect();
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for link in links(&file.text) {
            if let Some(what) = broken(file, &link, &paths, &anchors) {
                let mend = "write the path as seen from this file, or drop the link";
                findings.push(Finding::error(&file.path, link.line, what, mend));
            }
        }
    }
    findings
}

/// A link as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Link {
    line: usize,
    target: String,
}

/// What is wrong with `link`; `None` if it leads somewhere or out of the repository.
fn broken(
    file: &File,
    link: &Link,
    paths: &BTreeSet<&str>,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Option<String> {
    if link.target.contains("://") || link.target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
    let path = if path.is_empty() { Some(file.path.clone()) } else { resolve(&file.path, path) };
    let Some(path) = path else {
        return Some(format!("the link `{}` leaves the repository", link.target));
    };
    if !path.is_empty() && !paths.contains(path.as_str()) {
        return Some(format!("the link `{}` leads nowhere", link.target));
    }
    let known = anchors.get(path.as_str())?;
    (!anchor.is_empty() && !known.contains(anchor))
        .then(|| format!("the link `{}` names a heading that is not there", link.target))
}

/// `target` as a path from the workspace; `None` if it climbs out.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').collect(),
    };
    // The file itself is no folder.
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// A file's path and those of all folders above it.
fn with_folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).chain([path])
}

/// `[text](target)` and `[label]: target`, outside of code.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, prose) in prose(text) {
        let prose = without_code(prose);
        for (at, _) in prose.match_indices("](") {
            let target = &prose[at + 2..];
            let target = &target[..target.find([')', ' ']).unwrap_or(target.len())];
            found.push(Link { line, target: target.trim_matches(['<', '>']).to_owned() });
        }
        let definition = prose.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        if let Some((_label, target)) = definition {
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push(Link { line, target: target.to_owned() });
        }
    }
    found.retain(|link| !link.target.is_empty());
    found
}

/// The lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

fn without_code(line: &str) -> String {
    // Without its closing tick, a tick is text.
    let paired = line.matches('`').count() / 2 * 2;
    let pieces: Vec<&str> = line.split('`').collect();
    pieces
        .iter()
        .enumerate()
        .filter(|(index, _)| index % 2 == 0 || *index > paired)
        .map(|(_, piece)| *piece)
        .collect()
}

/// The names under which a document's headings can be reached, as code hosts derive them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug = slug(heading.trim());
        let times = seen.entry(slug.clone()).or_default();
        found.insert(if *times == 0 { slug } else { format!("{slug}-{times}") });
        *times += 1;
    }
    found
}

fn slug(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let files =
            files.iter().map(|&(path, text)| File { path: path.to_owned(), text: text.to_owned() });
        Tree { files: files.collect() }
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&tree(files))
            .into_iter()
            .map(|f| format!("{}:{}: {}", f.file, f.line, f.what))
            .collect()
    }

    #[test]
    fn a_dead_link_is_found_where_it_stands() {
        let found = found(&[
            ("README.md", "# A\n[b](docs/b.md) [c](docs/c.md)\n[d]: docs/d.md\n"),
            ("docs/b.md", "[up](../README.md) [out](../../x.md) [root](/README.md)"),
        ]);
        assert_eq!(
            found,
            [
                "README.md:2: the link `docs/c.md` leads nowhere",
                "README.md:3: the link `docs/d.md` leads nowhere",
                "docs/b.md:1: the link `../../x.md` leaves the repository",
            ]
        );
    }

    #[test]
    fn headings_are_reached_by_name() {
        let found = found(&[
            ("a.md", "[x](b.md#what-is-it) [y](b.md#what-is-it-1) [z](b.md#gone) [w](#here)"),
            ("b.md", "# What is it?\n## What is it\n```\n# gone\n```\n"),
        ]);
        assert_eq!(
            found,
            [
                "a.md:1: the link `b.md#gone` names a heading that is not there",
                "a.md:1: the link `#here` names a heading that is not there",
            ]
        );
    }

    #[test]
    fn code_folders_and_the_outside_world_are_left_alone() {
        let found = found(&[
            (
                "a.md",
                "`[x](gone)` [y](https://a.example) [z](docs) [w](docs/)\n```\n[v](gone)\n```\n",
            ),
            ("docs/b.md", "an odd ` tick [self](b.md)"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
