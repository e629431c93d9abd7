//! Dead records are judged again, or dropped, by who operates.

use serde_json::json;

use crate::desk::Desk;

#[test]
fn a_dead_record_is_redriven_once_corrected_and_runs_and_another_is_dropped() {
    let desk = Desk::open();
    let died = desk.submit("fly-1", "job.pay.small", "fly", "dead");
    let other = desk.submit("fly-2", "job.pay.small", "fly", "dead");
    desk.listed(&[&died, &other]);
    // Nobody but an operator; as it was it is dead again, in a life of its own.
    let said = desk.cli(&["dead", "drop", &died, "--signing-key", "sam.key"]);
    assert_eq!(said.code, Some(69), "{said:?}");
    let said = desk.cli(&["dead", "redrive", &died, "--signing-key", "olga.key"]);
    let next = format!("{died}~1");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(&format!("judged again as {next}")), "{said:?}");
    let story = desk.until(&next, "it is dead again", |story| story["state"] == "dead");
    assert_eq!((&story["redriven"]["by"], &story["id"]), (&json!("olga"), &json!("fly-1")), "{story}");
    desk.listed(&[&next, &other]);
    let said = desk.cli(&["dead", "redrive", &died, "--signing-key", "olga.key"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("already_redriven") && said.out.contains(&next), "{said:?}");
    // Corrected it runs.
    let corrected = json!({
        "id": "fly-1", "tenant": "acme", "topic": "job.pay.small", "capability": "pay", "payload": { "amount": 1 },
    });
    desk.home.write("corrected.json", &corrected.to_string()).unwrap();
    let arguments = ["dead", "redrive", &next, "--signing-key", "olga.key", "--with", "corrected.json"];
    let said = desk.cli(&arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
    let story = desk.until(&format!("{died}~2"), "it has run", |story| story["state"] == "succeeded");
    assert_eq!(story["output"], json!({ "amount": 1 }), "{story}");
    assert_eq!(desk.story(&died)["redriven_as"], json!(next));
    let said = desk.cli(&["dead", "drop", &other, "--signing-key", "olga.key", "--reason", "a test of theirs"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    desk.listed(&[]);
    assert_eq!(desk.cli(&["dead", "show", &other]).code, Some(0), "it is still there");
}
