//! An edge between crates may only go to a lower floor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::Finding;

/// The floor of crates that are no part of the product.
const DEV_FLOOR: u64 = 9;

pub(super) fn check(metadata: &Value, root: &Path) -> anyhow::Result<Vec<Finding>> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let crates: Vec<Crate<'_>> =
        packages.iter().map(Crate::read).collect::<Option<_>>().context("a package is odd")?;
    let mut findings = judge(&crates);
    for finding in &mut findings {
        let manifest = Path::new(&finding.file);
        let text = fs::read_to_string(manifest).with_context(|| finding.file.clone())?;
        let shown = manifest.strip_prefix(root).unwrap_or(manifest).display().to_string();
        finding.line = line_of(&text, &finding.what);
        finding.file = shown;
    }
    Ok(findings)
}

/// A crate of the workspace.
#[derive(Clone, Debug)]
struct Crate<'a> {
    name: &'a str,
    manifest: &'a str,
    floor: Option<u64>,
    edges: Vec<Edge<'a>>,
}

/// A dependency on another crate of the workspace.
#[derive(Clone, Copy, Debug)]
struct Edge<'a> {
    name: &'a str,
    is_dev: bool,
}

impl<'a> Crate<'a> {
    fn read(package: &'a Value) -> Option<Self> {
        let edges = package["dependencies"]
            .as_array()?
            .iter()
            // Only crates of the workspace have a path.
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| {
                let is_dev = dependency["kind"].as_str() == Some("dev");
                Some(Edge { name: dependency["name"].as_str()?, is_dev })
            })
            .collect::<Option<_>>()?;
        Some(Self {
            name: package["name"].as_str()?,
            manifest: package["manifest_path"].as_str()?,
            floor: package["metadata"]["floor"].as_u64(),
            edges,
        })
    }
}

/// Every edge that does not go down; the lines are not known yet.
fn judge(crates: &[Crate<'_>]) -> Vec<Finding> {
    let floors: BTreeMap<&str, Option<u64>> =
        crates.iter().map(|member| (member.name, member.floor)).collect();
    let mut findings = Vec::new();
    for member in crates {
        let Some(floor) = member.floor else {
            let what = format!("`{}` has no floor", member.name);
            let mend = "set `floor` under [package.metadata] as ARCHITECTURE.md says";
            findings.push(Finding::error(member.manifest, 1, what, mend));
            continue;
        };
        for edge in &member.edges {
            if edge.is_dev && floor == DEV_FLOOR {
                continue;
            }
            let Some(Some(below)) = floors.get(edge.name).copied() else { continue };
            if below >= floor {
                let what = format!("`{}` on floor {below} is not below floor {floor}", edge.name);
                let mend = "move what both need to a lower floor";
                findings.push(Finding::error(member.manifest, 1, what, mend));
            }
        }
    }
    findings
}

/// The line of a manifest that names what the finding's first code span names; 1 if none does.
fn line_of(manifest: &str, what: &str) -> usize {
    let name = what.split('`').nth(1).unwrap_or_default();
    let names_it = |line: &str| {
        line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    };
    manifest.lines().position(names_it).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(text: &str) -> Value {
        serde_json::from_str(text).expect("the fixture is JSON")
    }

    fn found(text: &str) -> Vec<String> {
        let metadata = workspace(text);
        let packages = metadata["packages"].as_array().expect("the fixture has packages");
        let crates: Vec<Crate<'_>> = packages.iter().filter_map(Crate::read).collect();
        assert_eq!(crates.len(), packages.len());
        judge(&crates).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn edges_go_down_only() {
        let metadata = r#"{ "packages": [
            { "name": "low", "manifest_path": "low/Cargo.toml", "metadata": { "floor": 1 },
              "dependencies": [{ "name": "high", "kind": null, "path": "high" }] },
            { "name": "high", "manifest_path": "high/Cargo.toml", "metadata": { "floor": 3 },
              "dependencies": [{ "name": "low", "kind": null, "path": "low" },
                               { "name": "twin", "kind": "dev", "path": "twin" },
                               { "name": "serde", "kind": null }] },
            { "name": "twin", "manifest_path": "twin/Cargo.toml", "metadata": { "floor": 3 },
              "dependencies": [] } ] }"#;
        assert_eq!(
            found(metadata),
            ["`high` on floor 3 is not below floor 1", "`twin` on floor 3 is not below floor 3"]
        );
    }

    #[test]
    fn crates_that_drive_the_product_are_free_in_their_tests() {
        let metadata = r#"{ "packages": [
            { "name": "e2e", "manifest_path": "e2e/Cargo.toml", "metadata": { "floor": 9 },
              "dependencies": [{ "name": "bench", "kind": "dev", "path": "bench" }] },
            { "name": "fuzz", "manifest_path": "fuzz/Cargo.toml", "metadata": { "floor": 9 },
              "dependencies": [{ "name": "bench", "kind": null, "path": "bench" }] },
            { "name": "bench", "manifest_path": "bench/Cargo.toml", "metadata": null,
              "dependencies": [] } ] }"#;
        assert_eq!(found(metadata), ["`bench` has no floor"]);
        let metadata = metadata.replace(
            "null,\n              \"dependencies\": []",
            "{ \"floor\": 9 },\n              \"dependencies\": []",
        );
        assert_eq!(found(&metadata), ["`bench` on floor 9 is not below floor 9"]);
    }

    #[test]
    fn the_finding_points_at_the_dependency() {
        let manifest = "[package]\n\n[dependencies]\nhigh-water = \"1\"\nhigh.workspace = true\n";
        assert_eq!(line_of(manifest, "`high` on floor 3 is not below floor 1"), 5);
        assert_eq!(line_of(manifest, "`other` has no floor"), 1);
    }
}
