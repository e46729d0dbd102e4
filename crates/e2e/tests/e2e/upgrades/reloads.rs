//! Another configuration, a hundred times.

use evergate_e2e::{Client, wait_until};

use super::stage::Stage;
use crate::apps::stage::count;
use crate::scene::get;

/// Rounds before memory is looked at for the first time: what is cached is cached then.
const WARM_ROUNDS: u32 = 10;

/// What round `number` of a series changes: routes, pools and listeners come, change and go.
fn change(config: &str, number: u32) -> String {
    let route = format!("[route.more]\nmatch = \"/more\"\nrespond = {{ body = \"{number}\" }}\n");
    let listener = "[listener.more]\nbind = [\"127.0.0.1:0\"]\n";
    match number % 5 {
        0 => config.to_owned(),
        1 => config.to_owned() + &route,
        2 => config.to_owned() + &route + listener,
        3 => {
            let pool = "[route.gone]\nmatch = \"/gone\"\npool = \"gone\"\n[pool.gone]\n";
            let port = 1 + number;
            let server = format!("servers = {{ a = {{ url = \"http://127.0.0.1:{port}\" }} }}\n");
            config.to_owned() + pool + &server
        }
        _ => {
            let timeout = format!("\"/*\"\ntimeout = \"{}s\"", 40 + number % 20);
            let config = config.replace("\"/*\"", &timeout);
            config.replace("[pool.shop]", "[pool.shop]\nkeepalive = 32")
        }
    }
}

#[test]
fn reloads_under_load_cost_no_request_and_no_memory() {
    let stage = Stage::start();
    let storm = stage.storm();
    let mut at_first = None;
    for number in 1..=count(15, 100) {
        let (code, answer) = stage.node.reload(&change(&stage.config, number));
        assert_eq!(code, 200, "{answer:#}");
        if number % 5 == 1 {
            let body = Client::ask(stage.node.web(), get("/more", ""));
            assert_eq!(body.text(), number.to_string(), "it is in force when that is said");
        }
        if number % 3 == 0 {
            // Between two good ones, one that is refused.
            let (code, _) = stage.node.reload(&stage.config.replace("match", "macht"));
            assert_eq!(code, 422);
            let (code, text) = stage.node.admin("GET", "/readyz?verbose", None);
            assert_eq!(code, 200, "it serves: {text}");
            assert!(text.contains("reload"), "{text}");
        }
        storm.wait_for(20);
        if number == WARM_ROUNDS {
            at_first = Some(stage.usage());
        }
    }
    assert_eq!(stage.node.reload(&stage.config).0, 200);
    let at_the_end = stage.usage();
    let aftermath = storm.finish();
    eprintln!("{aftermath}");
    aftermath.expect_no_failure();
    assert!(aftermath.farewells.is_empty(), "no WebSocket was closed: {aftermath}");
    stage.expect_same_processes();
    wait_until("nothing is wrong any more", || {
        !stage.node.admin("GET", "/readyz?verbose", None).1.contains("[!]")
    });
    at_first.expect("there were enough rounds").expect_no_growth(at_the_end);
}
