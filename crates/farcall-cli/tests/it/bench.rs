//! Load from the command line: the numbers that it gives, and what they must agree with.

use serde_json::{Value, json};

use crate::support::{Ended, demo_server, farcall, json_of, nobody};

const FIELDS: [&str; 10] = [
    "calls",
    "calls_per_s",
    "errors",
    "errors_by_code",
    "max_us",
    "p50_us",
    "p90_us",
    "p999_us",
    "p99_us",
    "seconds",
];

/// Benches for a short time, and gives the numbers.
fn bench(args: &[&str]) -> (Ended, Value) {
    let ended = farcall(&[&["bench", "--json", "--duration", "200ms"], args].concat());
    let report = json_of(&ended);
    (ended, report)
}

fn number(report: &Value, name: &str) -> f64 {
    report[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {report}"))
}

fn is_ordered(report: &Value) -> bool {
    let times =
        ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|name| number(report, name));
    times[0] > 0.0 && times.is_sorted()
}

#[test]
fn a_report_has_rate_latencies_and_no_errors() {
    let (_server, at) = demo_server();
    for codec in ["gob", "json", "msgpack"] {
        let args = [
            &at,
            "Arith.Multiply",
            r#"{"A":7,"B":8}"#,
            "--connections",
            "2",
            "--in-flight",
            "4",
        ];
        let (ended, report) = bench(&[&args[..], &["--codec", codec]].concat());
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{codec}");
        let names: Vec<_> = report.as_object().unwrap().keys().collect();
        assert_eq!(names, FIELDS);
        assert_eq!(
            (&report["errors"], &report["errors_by_code"]),
            (&json!(0), &json!({}))
        );
        assert!(
            number(&report, "calls") > 8.0 && number(&report, "seconds") >= 0.2,
            "{report}"
        );
        let rate = number(&report, "calls") / number(&report, "seconds");
        assert!(
            (rate / number(&report, "calls_per_s") - 1.0).abs() < 0.01,
            "{report}"
        );
        assert!(is_ordered(&report), "{report}");
    }
    // The server counted the same calls.
    let list = json_of(&farcall(&["ls", &at, "--json"]));
    assert!(list[0]["methods"][1]["calls"].as_u64() > Some(24), "{list}");
}

#[test]
fn a_rate_is_kept_and_calls_are_measured_from_when_they_were_due() {
    let (_server, at) = demo_server();
    let (ended, report) = bench(&[&at, "Arith.Multiply", "--rps", "500"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let due = number(&report, "calls") + number(&report, "not_begun");
    assert!((due - 100.0).abs() < f64::EPSILON, "{report}");

    // One caller, and a server that takes a second: what is due meanwhile waits, or does not begin at all.
    let slow = [
        &at,
        "Foo.Sleep",
        r#"{"Num1":1}"#,
        "--rps",
        "100",
        "--in-flight",
        "1",
    ];
    let (ended, report) = bench(&slow);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        (&report["calls"], &report["not_begun"]),
        (&json!(1), &json!(19))
    );
    assert!(number(&report, "p50_us") >= 1e6, "{report}");
    let slow = [&slow[..], &["--duration", "1500ms"]].concat();
    let ended = farcall(&[&["bench", "--json"], &slow[..]].concat());
    let report = json_of(&ended);
    assert_eq!(report["calls"], 2, "{report}");
    // The second was due 10 ms after the first, and began a second after it.
    assert!(number(&report, "max_us") >= 1.9e6, "{report}");
    let told = farcall(&[&["bench"], &slow[..]].concat());
    assert!(
        told.stdout
            .contains("saturated: 100 a second were asked for"),
        "{told:?}"
    );
}

#[test]
fn errors_are_counted_by_code_and_fail_the_bench() {
    let (_server, at) = demo_server();
    let (ended, report) = bench(&[&at, "Arith.Divide", r#"{"A":1}"#]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("divide by zero"), "{ended:?}");
    assert_eq!(report["errors"], report["calls"]);
    assert_eq!(report["errors_by_code"], json!({"failed": report["calls"]}));
    assert_eq!(report["calls_per_s"], 0.0);

    let (ended, report) = bench(&[&at, "Foo.Sleep", r#"{"Num1":30}"#, "--timeout", "100ms"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(
        report["errors_by_code"]["deadline_exceeded"],
        report["calls"]
    );

    let ended = farcall(&["bench", &nobody(), "A.B"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(3), ""), "{ended:?}");
    for wrong in [
        ["--connections", "0"],
        ["--in-flight", "0"],
        ["--rps", "0"],
        ["--duration", "5"],
    ] {
        let ended = farcall(&["bench", &at, "A.B", wrong[0], wrong[1]]);
        assert_eq!(ended.code, Some(2), "{wrong:?} gave {ended:?}");
    }
}

#[test]
fn a_cluster_is_benched_as_a_whole() {
    let ((_first, first), (_second, second)) = (demo_server(), demo_server());
    let (ended, _) = bench(&[&format!("static:{first},{second}"), "Echo.Echo", "\"aGk=\""]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    for at in [first, second] {
        let list = json_of(&farcall(&["ls", &at, "--json"]));
        assert!(list[1]["methods"][0]["calls"].as_u64() > Some(0), "{list}");
    }
}
