#![allow(clippy::unwrap_used)]

use crate::config::{NodeFile, Warning, normalise, parse};

fn read(text: &str) -> (NodeFile, Vec<Warning>) {
    parse("edge.toml", text, [], &[]).unwrap()
}

const SUBSET: &str = r#"
[[route]]
subject = "bank.tx.*"
policy = "subset"
to = [
    { group = "risk-v1", weight = 80, labels = { version = "v1" } },
    { group = "risk-v2", weight = 20, labels = { version = "v2", region = "eu" } },
    { group = "risk-v3", weight = 0, labels = { version = "v3" } },
]
rules = [
    { labels = { user = "test-*", canary = "*" }, subset = { version = "v2" } },
    { keys = ["7", "8"], subset = { region = "eu" } },
    { subset = { version = "v1" } },
]
mirror = { group = "shadow", share = 0.1 }
"#;

#[test]
fn every_policy_is_read_with_its_options() {
    let (file, warnings) = read(SUBSET);
    let route = &file.routes[0];
    assert_eq!(route.rules.len(), 3);
    assert_eq!(route.rules[0].labels[0], ("user".into(), "test-*".into()));
    let eu: Vec<_> = route
        .to
        .iter()
        .filter(|to| route.rules[1].takes(to))
        .collect();
    assert_eq!((eu.len(), eu[0].group.value.as_str()), (1, "risk-v2"));
    assert_eq!(route.mirror.as_ref().unwrap().share, 0.1);
    assert!(warnings[0].text.contains("unordered"), "{}", warnings[0]);
    for (policy, options) in [
        (
            "bounded-load",
            "load_factor = 1.5\nto = [{group = \"g\", weight = 3}]",
        ),
        ("bounded-load", "load_factor = 2\nto = [{group = \"g\"}]"),
        ("least-loaded", "to = [{group = \"g\", weight = 3}]"),
        (
            "failover",
            "panic_threshold = 0\nto = [{group = \"g\"}, {group = \"h\", priority = 1, weight = 2}]",
        ),
        (
            "weighted",
            "sticky = true\nto = [{group = \"g\"}]\nmirror = {group = \"s\"}",
        ),
    ] {
        let text = format!("[[route]]\nsubject = \"a\"\npolicy = \"{policy}\"\n{options}\n");
        let (file, _) = read(&text);
        assert_eq!(file.routes[0].policy.word(), policy);
        let again = normalise::to_toml(&file);
        assert_eq!(normalise::to_toml(&read(&again).0), again);
        assert_eq!(
            read(&again).0.routes[0].decided().unwrap().policy.name(),
            policy
        );
    }
    let again = normalise::to_toml(&file);
    assert_eq!(normalise::to_toml(&read(&again).0), again);
    assert_eq!(read(&again).0.routes[0].rules.len(), 3);
}

#[test]
fn rules_by_key_keep_order_and_rules_by_label_do_not() {
    let by_key = SUBSET.replace(
        "{ labels = { user = \"test-*\", canary = \"*\" }, subset = { version = \"v2\" } },",
        "",
    );
    for (text, unordered) in [
        (format!("{SUBSET}sticky = true\n"), true),
        (by_key.clone(), true),
        (format!("{by_key}sticky = true\n"), false),
    ] {
        let (file, warnings) = read(&text);
        assert_eq!(file.routes[0].is_unordered(), unordered, "{text}");
        let warned = warnings
            .iter()
            .any(|warning| warning.text.contains("unordered"));
        assert_eq!(warned, unordered);
        let policy = file.routes[0].decided().unwrap().effective_policy();
        assert_eq!(policy.build().keeps_order(), !unordered);
    }
}

#[test]
fn guards_are_read_and_written_again() {
    for guards in [
        "limit = {rate = 2.5, burst = 5, when = \"divert\"}\nbreaker = {requestVolumeThreshold = 3}\nbulkhead = {concurrency = 7}\nfallback = \"spare\"",
        "limit = {rate = 10, when = \"delay\", max_wait = \"3s\"}",
        "limit = {rate = 10, when = \"delay\", even = true}\ndeadline = {default = \"2s\", max = \"1m\", min_remaining = \"5ms\"}",
        "limit = {rate = 10, per = \"identity\", keys = 50, when_full = \"refuse\"}\nshed = {target = \"50ms\"}",
        "limit = {rate = 10, per = \"key\", when = \"delay\", max_wait = \"3s\"}",
        "limit = {rate = 10}\nbulkhead = {concurrency = 7, max_waiting = 3}",
        "limit = {rate = 10}\nbulkhead = {concurrency = 7, max_waiting = 3, max_wait = \"40ms\"}",
        "limit = {rate = 10}\nadaptive = {most = 10}\noutlier = {consecutive_failures = 3, interval = \"1s\"}",
        "limit = {rate = 10}\ncanary = {group = \"g\", steps = [10, 100], min_step_time = \"10s\"}",
    ] {
        let route = format!(
            "[[route]]\nsubject = \"a\"\npolicy = \"hash\"\nto = [{{group = \"g\"}}, {{group = \"h\"}}]\n{guards}\n"
        );
        let (file, _) = read(&route);
        let limit = file.routes[0].guards.limit.unwrap();
        let wanted = if guards.contains("rate = 10") {
            (10.0, 1)
        } else {
            (2.5, 5)
        };
        assert_eq!((limit.rate, limit.burst), wanted);
        let again = normalise::to_toml(&file);
        let (same, _) = read(&again);
        assert_eq!(normalise::to_toml(&same), again);
        let decided = |file: &NodeFile| file.routes[0].decided().unwrap().guards;
        assert_eq!(decided(&same), decided(&file));
        assert_ne!(decided(&file), mcpbus::routing::RouteGuards::default());
    }
}

#[test]
fn mistakes_have_their_place_and_reason() {
    let of = |policy: &str, rest: &str| {
        format!("[[route]]\nsubject = \"a\"\npolicy = \"{policy}\"\n{rest}\n")
    };
    let one = "to = [{group = \"g\"}]";
    let subset = |rules: &str| {
        let to = "to = [{group = \"g\", labels = {version = \"v1\"}}, {group = \"h\", weight = 0, labels = {version = \"v2\"}}]";
        of("subset", &format!("{to}\nrules = [{rules}]"))
    };
    for (text, words) in [
        (
            of("least_loaded", one),
            "edge.toml:3:10: `least_loaded` is not a value of `route.0.policy`",
        ),
        (
            of("bounded-load", &format!("{one}\nload_factor = 0.9")),
            "edge.toml:5:15: `route.0.load_factor` must lie between 1 and 1000",
        ),
        (
            of("bounded-load", &format!("{one}\nload_factor = nan")),
            "must lie between",
        ),
        (
            of("hash", &format!("{one}\nload_factor = 2")),
            "`load_factor` belongs to the policy `bounded-load`",
        ),
        (
            of("failover", &format!("{one}\npanic_threshold = 101")),
            "edge.toml:5:19: `route.0.panic_threshold` must lie between 0 and 100",
        ),
        (
            of("weighted", "to = [{group = \"g\", priority = 1}]"),
            "`priority` belongs to the policy `failover`",
        ),
        (
            of("failover", "to = [{group = \"g\", weight = 0}]"),
            "all weights are 0",
        ),
        (
            of("failover", &format!("{one}\nsticky = true")),
            "`sticky` belongs to the policies",
        ),
        (
            of(
                "hash",
                &format!("{one}\nmirror = {{group = \"s\", share = 1.5}}"),
            ),
            "edge.toml:5:32: `route.0.mirror.share` must lie between 0.000001 and 1",
        ),
        (
            of(
                "hash",
                &format!("{one}\nmirror = {{group = \"s\", share = 0}}"),
            ),
            "`route.0.mirror.share` must lie between",
        ),
        (
            of("hash", &format!("{one}\nmirror = {{group = \"g\"}}")),
            "`g` is a destination of the route",
        ),
        (
            of("hash", &format!("{one}\nlimit = {{rate = 0}}")),
            "edge.toml:5:17: `route.0.limit.rate` must lie between",
        ),
        (
            of(
                "hash",
                &format!("{one}\nlimit = {{rate = 1, when = \"divert\"}}"),
            ),
            "`divert` needs the route's `fallback`",
        ),
        (
            of(
                "hash",
                &format!("{one}\nlimit = {{rate = 1, even = true, burst = 2}}"),
            ),
            "there are no bursts",
        ),
        (
            of("hash", &format!("{one}\nlimit = {{rate = 1, keys = 5}}")),
            "edge.toml:5:27: `keys` belongs to a limit `per` something",
        ),
        (
            of("hash", &format!("{one}\ndeadline = {{}}")),
            "`deadline` needs `default`, `max` or `min_remaining`",
        ),
        (
            of(
                "hash",
                &format!("{one}\ndeadline = {{default = \"2m\", max = \"1m\"}}"),
            ),
            "no message would ever have the default",
        ),
        (
            of(
                "hash",
                &format!("{one}\nadaptive = {{least = 10, most = 5}}"),
            ),
            "there is no limit between them",
        ),
        (
            of("hash", &format!("{one}\ncanary = {{group = \"x\"}}")),
            "edge.toml:5:19: the group `x` is none of those in `to`",
        ),
        (
            of("hash", &format!("{one}\ncanary = {{group = \"g\"}}")),
            "the weights of the groups beside the canary's sum to 0",
        ),
        (
            of("round-robin", &format!("{one}\ncanary = {{group = \"g\"}}")),
            "`round-robin` does not go by weights",
        ),
        (
            of(
                "hash",
                &format!("{one}\ncanary = {{group = \"g\", steps = [50, 20]}}"),
            ),
            "each above the one before",
        ),
        (
            of(
                "hash",
                &format!("{one}\ncanary = {{group = \"g\", steps = [500]}}"),
            ),
            "must be a list of whole numbers from 1 to 100",
        ),
        (
            of(
                "hash",
                &format!("{one}\noutlier = {{consecutive_failure = 3}}"),
            ),
            "did you mean `consecutive_failures`?",
        ),
        (
            of(
                "hash",
                &format!("{one}\nlimit = {{rate = 1, max_wait = \"1s\"}}"),
            ),
            "`max_wait` belongs to",
        ),
        (
            of("hash", &format!("{one}\nfallback = \"h\"")),
            "nothing goes there",
        ),
        (
            of(
                "hash",
                &format!("{one}\nbulkhead = {{concurrency = 1}}\nfallback = \"g\""),
            ),
            "takes part in the route already",
        ),
        (
            of(
                "broadcast",
                &format!("{one}\nbulkhead = {{concurrency = 1}}"),
            ),
            "no `bulkhead` can be heard",
        ),
        (
            of(
                "hash",
                &format!("{one}\nbulkhead = {{concurrency = 1, max_wait = \"1s\"}}"),
            ),
            "edge.toml:5:41: `max_wait` belongs to `max_waiting`",
        ),
        (
            of(
                "hash",
                &format!("{one}\nbulkhead = {{concurrency = 1, max_waiting = 0}}"),
            ),
            "`route.0.bulkhead.max_waiting` must lie between",
        ),
        (
            of(
                "hash",
                &format!("{one}\nbreaker = {{errorThresholdPercentage = 101}}"),
            ),
            "`route.0.breaker.errorThresholdPercentage` must lie between",
        ),
        (
            of("hash", &format!("{one}\nmirror = {{share = 1}}")),
            "`route.0.mirror.group` is missing",
        ),
        (
            of("broadcast", &format!("{one}\nmirror = {{group = \"s\"}}")),
            "`broadcast` sends to all",
        ),
        (
            of(
                "hash",
                &format!("{one}\nrules = [{{subset = {{a = \"b\"}}}}]"),
            ),
            "`rules` belongs to the policy `subset`",
        ),
        (
            subset("{labels = {a = \"b\"}}"),
            "the rule names no `subset`",
        ),
        (
            subset("{labels = {a = \"b\"}, subset = {version = \"v9\"}}"),
            "edge.toml:5:10: no group of `to` has the labels",
        ),
        (
            subset("{labels = {a = \"b\"}, subset = {version = \"v2\"}}"),
            "the weights of its groups sum to 0",
        ),
        (
            subset("{subset = {version = \"v1\"}}, {keys = [\"1\"], subset = {version = \"v1\"}}"),
            "edge.toml:5:39: an earlier rule without `labels` and `keys`",
        ),
        (
            subset("{label = {a = \"b\"}, subset = {version = \"v1\"}}"),
            "did you mean `labels`?",
        ),
    ] {
        let message = parse("edge.toml", &text, [], &[]).unwrap_err().to_string();
        assert!(message.contains(words), "{words:?} in {message}");
    }
}
