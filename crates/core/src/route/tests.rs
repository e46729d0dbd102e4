use alloc::{format, vec};

use super::*;
use crate::rng::Rng;

mod oracle;
mod spelling;

fn spec(pattern: &str) -> Spec {
    let (host, path) = pattern.split_at(pattern.find('/').unwrap());
    let host = match host.strip_prefix("*.") {
        Some(below) => HostPattern::Below(below.into()),
        None if host.is_empty() => HostPattern::Any,
        None => HostPattern::Exact(host.into()),
    };
    let (methods, conditions, conditions_key) = (Vec::new(), 0, String::new());
    Spec { host, path: path.into(), methods, conditions, conditions_key }
}

fn methods(pattern: &str, methods: &[&str]) -> Spec {
    Spec { methods: methods.iter().map(|&m| m.into()).collect(), ..spec(pattern) }
}

fn condition(spec: Spec, key: &str) -> Spec {
    Spec { conditions: 1, conditions_key: key.into(), ..spec }
}

fn table(specs: &[Spec]) -> Table {
    Table::build(specs).unwrap()
}

fn conflicts(specs: &[Spec]) -> Vec<Conflict> {
    Table::build(specs).unwrap_err()
}

/// The index of the route found, and its parameters as text.
fn found(
    table: &Table,
    host: &str,
    path: &str,
    method: &str,
) -> Result<(u32, String), Vec<String>> {
    match table.find(host.as_bytes(), path, method.as_bytes(), |_| true) {
        Found::Route { id, params } => {
            let params: Vec<_> =
                params.iter().map(|(name, text)| format!("{name}={text}")).collect();
            Ok((id.0, params.join(" ")))
        }
        Found::MethodNotAllowed { allowed } => Err(allowed),
        Found::NotFound => Err(vec![]),
    }
}

fn get(table: &Table, host: &str, path: &str) -> Option<(u32, String)> {
    found(table, host, path, "GET").ok()
}

#[test]
fn the_more_specific_route_wins_whatever_the_order() {
    // Each pattern is better than all after it, for the request.
    let cases: [(&str, &str, &[&str]); 6] = [
        ("a.b.c", "/x", &["a.b.c/{*r}", "*.b.c/x", "*.b.c/{*r}", "*.c/x", "/x", "/{x}"]),
        ("h", "/a/b", &["/a/b", "/a/{x}", "/a/{*r}", "/{x}/b", "/{x}/{y}", "/{x}/{*r}", "/{*r}"]),
        ("h", "/img-1.png", &["/img-{x}.png", "/img-{x}", "/im{x}", "/{x}.png", "/{x}", "/{*r}"]),
        ("h", "/a/", &["/a/", "/a/{*r}", "/{x}/", "/{*r}"]),
        ("h", "/a", &["/a", "/a/{*r}", "/{x}", "/{x}/{*r}", "/{*r}"]),
        ("h", "/", &["/", "/{*r}"]),
    ];
    for (host, path, patterns) in cases {
        let mut specs: Vec<_> = patterns.iter().map(|pattern| spec(pattern)).collect();
        let ids: Vec<_> = (0..patterns.len() as u32).map(RouteId).collect();
        assert_eq!(table(&specs).candidates(host.as_bytes(), path), ids, "{patterns:?}");
        specs.reverse();
        let best = patterns.len() as u32 - 1;
        assert_eq!(get(&table(&specs), host, path).map(|(id, _)| id), Some(best), "{patterns:?}");
    }
}

#[test]
fn parameters_carry_each_routes_own_names() {
    let table = table(&[
        methods("/{tenant}/users/{id}", &["GET"]),
        methods("/{org}/users/{name}", &["PUT"]),
        spec("/files/{*rest}"),
        spec("/img-{n}.png"),
    ]);
    let path = "/acme/users/7";
    assert_eq!(found(&table, "h", path, "GET"), Ok((0, "tenant=acme id=7".into())));
    assert_eq!(found(&table, "h", path, "PUT"), Ok((1, "org=acme name=7".into())));
    assert_eq!(get(&table, "h", "/files/a/b"), Some((2, "rest=a/b".into())));
    assert_eq!(get(&table, "h", "/img-7.png"), Some((3, "n=7".into())));
    assert_eq!(get(&table, "h", "/img-.png"), None);
    assert_eq!(get(&table, "h", "//users/7"), None, "a parameter stands for at least one byte");
    let Found::Route { params, .. } = table.find(b"h", path, b"GET", |_| true) else { panic!() };
    assert_eq!((params.get("id"), params.get("name")), (Some("7"), None));
}

#[test]
fn a_wildcard_takes_the_empty_rest_too() {
    let table = table(&[spec("/files/{*rest}")]);
    assert_eq!(get(&table, "h", "/files/a"), Some((0, "rest=a".into())));
    assert_eq!(get(&table, "h", "/files/"), Some((0, "rest=".into())));
    assert_eq!(get(&table, "h", "/files"), Some((0, "rest=".into())));
    assert_eq!(get(&table, "h", "/filesystem"), None);
    assert_eq!(get(&table, "h", "/"), None);
}

#[test]
fn braces_are_doubled_to_stand_for_themselves() {
    let table = table(&[spec("/{{a}}"), spec("/x{{{a}}}")]);
    assert_eq!(get(&table, "h", "/{a}"), Some((0, String::new())));
    assert_eq!(get(&table, "h", "/x{7}"), Some((1, "a=7".into())));
    assert_eq!(get(&table, "h", "/a"), None);
}

#[test]
fn hosts_compare_without_case_port_brackets_and_final_dot() {
    let table = table(&[
        spec("a.example/"),
        spec("*.example/"),
        spec("[2001:db8::1]/"),
        Spec { host: HostPattern::Exact("::1".into()), ..spec("/") },
    ]);
    let id = |host| get(&table, host, "/").map(|(id, _)| id);
    for host in ["a.example", "A.EXAMPLE", "a.example:8080", "a.example.", "a.example.:80"] {
        assert_eq!(id(host), Some(0), "{host}");
    }
    for host in ["b.example", "x.y.example:1", "a.a.example"] {
        assert_eq!(id(host), Some(1), "{host}");
    }
    assert_eq!(id("[2001:DB8::1]:443"), Some(2));
    assert_eq!(id("[::1]"), Some(3));
    for host in ["example", "b.example.org", "", "badexample", "[::2]", ":80"] {
        assert_eq!(id(host), None, "{host}");
    }
    assert_eq!(id(&"a.".repeat(200)), None, "longer than any name");
}

#[test]
fn a_refusing_route_leaves_the_request_to_the_next_best() {
    let table = table(&[
        methods("a.b/api/users", &["POST"]),
        methods("/api/{*rest}", &["GET"]),
        condition(spec("a.b/api/users"), "x-beta=1"),
    ]);
    assert_eq!(found(&table, "a.b", "/api/users", "GET"), Ok((2, String::new())));
    let no_beta = |id: RouteId| id.0 != 2;
    let Found::Route { id, params } = table.find(b"a.b", "/api/users", b"GET", no_beta) else {
        panic!("the wildcard of another host is left")
    };
    assert_eq!((id.0, params.get("rest")), (1, Some("users")));
    let found = table.find(b"a.b", "/api/users", b"PUT", no_beta);
    let Found::MethodNotAllowed { allowed } = found else { panic!("{found:?}") };
    assert_eq!(allowed, ["GET", "HEAD", "POST"], "the union, and HEAD with GET");
}

#[test]
fn the_method_is_to_blame_only_if_conditions_hold() {
    let table = table(&[condition(methods("/a", &["POST"]), "x=1")]);
    let find = |accept| table.find(b"h", "/a", b"GET", |_| accept);
    assert!(matches!(find(true), Found::MethodNotAllowed { allowed } if allowed == ["POST"]));
    assert!(matches!(find(false), Found::NotFound));
    assert_eq!(found(&table, "h", "/b", "POST"), Err(vec![]));
}

#[test]
fn head_goes_where_it_is_named_before_where_get_is() {
    let table =
        table(&[methods("/a", &["GET"]), methods("/a", &["HEAD"]), methods("/b", &["GET"])]);
    assert_eq!(found(&table, "h", "/a", "HEAD").unwrap().0, 1);
    assert_eq!(found(&table, "h", "/a", "GET").unwrap().0, 0);
    assert_eq!(found(&table, "h", "/b", "HEAD").unwrap().0, 2);
    assert_eq!(found(&table, "h", "/b", "head"), Err(vec!["GET".into(), "HEAD".into()]));
}

#[test]
fn more_conditions_win() {
    let specs = [
        spec("/a"),
        methods("/a", &["GET"]),
        condition(spec("/a"), "x=1"),
        condition(spec("/a"), "y=1"),
        condition(methods("/a", &["GET"]), "x=1"),
    ];
    let ids = table(&specs).candidates(b"h", "/a");
    assert_eq!(ids.iter().map(|id| id.0).collect::<Vec<_>>(), [4, 2, 3, 1, 0]);
}

#[test]
fn a_true_tie_names_both_routes() {
    let tie = |first, second| {
        vec![Conflict::Ambiguous { first: RouteId(first), second: RouteId(second) }]
    };
    assert_eq!(conflicts(&[spec("/a/{x}"), spec("/b"), spec("/a/{y}")]), tie(0, 2));
    assert_eq!(conflicts(&[spec("/{*x}"), spec("/{*y}")]), tie(0, 1));
    assert_eq!(conflicts(&[spec("A.b/"), spec("a.b:80/")]), tie(0, 1));
    let get_or = |other| methods("/a", &["GET", other]);
    assert_eq!(conflicts(&[get_or("HEAD"), get_or("PUT")]), tie(0, 1));
    let beta = |spec| condition(spec, "x=1");
    assert_eq!(conflicts(&[beta(spec("/a")), spec("/a"), beta(spec("/a"))]), tie(0, 2));
    table(&[methods("/a", &["GET"]), methods("/a", &["PUT"]), spec("/a"), beta(spec("/a"))]);
    table(&[condition(spec("/a"), "x=1"), condition(spec("/a"), "x=2")]);
    table(&[spec("a.b/"), spec("*.b/"), spec("/")]);
}

#[test]
fn every_conflict_is_reported_in_words() {
    let cases = [
        ("a", "the path `a` must start with `/`"),
        ("/{*a}/b", "in `/{*a}/b` a wildcard must be the last segment"),
        ("/{a}-{b}", "in `/{a}-{b}` `{a}-{b}` has two parameters; a segment may hold one"),
        ("/x{*a}", "in `/x{*a}` the wildcard of `x{*a}` must stand alone"),
        ("/{a", "in `/{a` a brace of `{a` has no partner; `{{` means `{`"),
        ("/a}", "in `/a}` a brace of `a}` has no partner; `{{` means `{`"),
        ("/{}", "in `/{}` the parameter `` needs a name of letters, digits, `_`, `-`"),
        ("/{a}/{a}", "in `/{a}/{a}` two parameters are called `a`"),
        ("/a//b", "`/a//b` can never match, because paths are normalised first; write `/a/b`"),
        ("/a%2fb", "`/a%2fb` can never match: the path holds `%2f`"),
        ("/ü", "`/ü` can never match: the path holds a byte that is not ASCII"),
    ];
    let specs: Vec<_> = cases.map(|(path, _)| Spec { path: path.into(), ..spec("/") }).into();
    let whys: Vec<_> = conflicts(&specs)
        .into_iter()
        .map(|conflict| match conflict {
            Conflict::Invalid { route, why } => (route.0, why),
            Conflict::Ambiguous { .. } => panic!("{conflict:?}"),
        })
        .collect();
    let expected: Vec<_> = (0..).zip(cases.map(|(_, why)| String::from(why))).collect();
    assert_eq!(whys, expected);
}

#[test]
fn patterns_are_bounded() {
    let params = |n: usize| (0..n).fold(String::new(), |path, i| path + &format!("/{{p{i}}}"));
    let path = params(PARAMS_MAX);
    let found = get(&table(&[spec(&path)]), "h", &path).expect("as many as may be");
    assert_eq!(found.1.split(' ').count(), PARAMS_MAX);
    assert_eq!(conflicts(&[spec(&params(PARAMS_MAX + 1))]).len(), 1);
    table(&[spec(&"/a".repeat(SEGMENTS_MAX))]);
    assert_eq!(conflicts(&[spec(&"/a".repeat(SEGMENTS_MAX + 1))]).len(), 1);
    let long = Spec { host: HostPattern::Exact("a".repeat(254)), ..spec("/") };
    assert_eq!(conflicts(&[long]).len(), 1);
}

#[test]
fn a_star_is_no_path() {
    assert_eq!(found(&table(&[spec("/{*all}")]), "h", "*", "OPTIONS"), Err(vec![]));
}
