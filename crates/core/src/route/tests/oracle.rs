//! The tree against a scan of all routes, on random routes and requests.

use super::*;

/// How well `pattern` fits one segment after the other; `None` if it does not. Smaller is better.
fn fit(pattern: &str, path: &str) -> Option<Vec<(u8, isize, isize)>> {
    let mut ranks = Vec::new();
    let mut segments = path[1..].split('/');
    for wanted in pattern[1..].split('/') {
        if wanted.starts_with("{*") {
            ranks.push((2, 0, 0));
            return Some(ranks);
        }
        let segment = segments.next()?;
        if let Some((prefix, rest)) = wanted.split_once('{') {
            let suffix = rest.split_once('}').unwrap().1;
            let inside = segment.strip_prefix(prefix)?.strip_suffix(suffix)?;
            if inside.is_empty() {
                return None;
            }
            ranks.push((1, -(prefix.len() as isize), -(suffix.len() as isize)));
        } else if wanted == segment {
            ranks.push((0, 0, 0));
        } else {
            return None;
        }
    }
    if segments.next().is_some() {
        return None;
    }
    // A path that ends is better than a wildcard for the empty rest.
    ranks.push((1, 0, 0));
    Some(ranks)
}

fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.below(words.len() as u32) as usize]
}

fn random_path(rng: &mut Rng, words: &[&str]) -> String {
    (0..=rng.below(4)).fold(String::new(), |path, _| path + "/" + pick(rng, words))
}

#[test]
fn the_tree_agrees_with_a_scan() {
    for seed in 0..400 {
        let mut rng = Rng::seeded(seed);
        let mut patterns = BTreeSet::new();
        for _ in 0..rng.below(40) {
            let words = ["a", "b", "ab", "aab", "{x}", "a{x}", "{x}b", "a{x}b", "{*x}"];
            let pattern = random_path(&mut rng, &words);
            let pattern = match pattern.split_once("/{*x}") {
                Some((before, _)) => format!("{before}/{{*x}}"),
                None => pattern,
            };
            // Names must differ within one pattern.
            let mut named = String::new();
            for (index, piece) in pattern.split('x').enumerate() {
                named += &if index == 0 { piece.into() } else { format!("p{index}{piece}") };
            }
            patterns.insert(named);
        }
        let patterns: Vec<_> = patterns.into_iter().collect();
        let table = table(&patterns.iter().map(|path| spec(path)).collect::<Vec<_>>());
        for _ in 0..200 {
            let path = random_path(&mut rng, &["a", "b", "ab", "aab", "aabb", "c"]);
            let mut fits: Vec<_> = (0..)
                .zip(&patterns)
                .filter_map(|(id, pattern)| Some((fit(pattern, &path)?, RouteId(id))))
                .collect();
            fits.sort();
            let expected: Vec<_> = fits.into_iter().map(|(_, id)| id).collect();
            assert_eq!(table.candidates(b"h", &path), expected, "seed {seed} {path} {patterns:?}");
        }
    }
}

#[test]
fn ten_thousand_routes_cost_a_request_no_more_steps() {
    let many: Vec<_> = (0..10_000).map(|i| spec(&format!("h{i}.example/s{i}/{{id}}"))).collect();
    let siblings: Vec<_> = (0..10_000).map(|i| spec(&format!("/s{i}/{{id}}"))).collect();
    for specs in [many, siblings] {
        let table = table(&specs);
        let mut asked = 0;
        for (index, spec) in specs.iter().enumerate() {
            let host = match &spec.host {
                HostPattern::Exact(host) => host.as_str(),
                HostPattern::Below(_) | HostPattern::Any => "h",
            };
            let path = format!("/s{index}/7");
            let found = table.find(host.as_bytes(), &path, b"GET", |_| {
                asked += 1;
                true
            });
            assert!(matches!(found, Found::Route { id, .. } if id.index() == index), "{path}");
        }
        assert_eq!(asked, specs.len(), "no other route was looked at");
        assert!(table.tree.steps_max() < 64, "{} slots for one edge", table.tree.steps_max());
    }
}
