//! Who is let in, and what the others are told.

use super::ground::{Door, Ground};

/// What `doctor` says of the spine, and its exit code.
fn told(ground: &Ground, name: &str, door: &Door<'_>) -> (Option<i32>, String) {
    ground.config(name, door);
    let config = format!("{name}.yaml");
    let ended = ground.home.run(&["doctor", "--config", &config, "--output", "json", "--log", "debug"]).unwrap();
    let report: serde_json::Value = serde_json::from_str(ended.out.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err));
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let spine = findings.iter().find(|finding| finding["check"] == "spine").unwrap_or_else(|| panic!("{report}"));
    // Whatever is said, the password is not.
    let secret = door.user.as_ref().map(|(_, file)| std::fs::read_to_string(file).unwrap());
    if let Some(secret) = secret {
        assert!(!ended.out.contains(&secret) && !ended.err.contains(&secret), "{name}: the password is shown");
    }
    (ended.code, format!("{} {}", spine["level"], spine["what"]))
}

#[test]
fn the_right_credentials_are_let_in_and_each_wrong_one_is_told_apart() {
    let ground = Ground::new();
    let right = ground.door("operator");
    let (_, said) = told(&ground, "right", &right);
    assert!(said.contains("ok"), "{said}");
    // A secret of the configuration is not shown by it either.
    let shown = ground.home.run(&["config", "show", "--config", "right.yaml"]).unwrap();
    let secret = std::fs::read_to_string(ground.data.join("scram/operator")).unwrap();
    assert!(
        shown.code == Some(0) && !shown.out.contains(&secret) && shown.out.contains("scram/operator"),
        "{}",
        shown.out
    );

    ground.home.write("wrong", "not the password").unwrap();
    let wrong = Door { user: Some(("operator", ground.home.path().join("wrong"))), ..ground.door("operator") };
    let (code, said) = told(&ground, "wrong-password", &wrong);
    assert!(code == Some(69) && said.to_lowercase().contains("authentication"), "{code:?} {said}");

    // A certificate that is no CA of the broker's.
    let other = ground.home.path().join("other.pem");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"])
        .args(["-subj", "/CN=another CA", "-keyout", "/dev/null", "-out"])
        .arg(&other)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (code, said) = told(&ground, "unknown-ca", &Door { ca: Some(other), ..ground.door("operator") });
    assert!(code == Some(69) && said.contains("certificate verify failed"), "{code:?} {said}");

    let plain = Door { protocol: "PLAINTEXT", user: None, ca: None, ..ground.door("operator") };
    let (code, said) = told(&ground, "no-tls", &plain);
    assert!(code == Some(69) && said.contains("security.protocol"), "{code:?} {said}");
}
