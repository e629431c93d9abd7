//! What conditions mean, as tables.

use crate::judge;
use tidegate_policy::when::Truth::{self, Error, False, True};

fn check(payload: &str, rows: &[(&str, Truth)]) {
    for (text, expected) in rows {
        assert_eq!(judge(text, payload), *expected, "{text} on {payload}");
    }
}

const PAYMENT: &str = r#"{
    "amount": 1500.5, "fee": 2, "count": 7, "currency": "EUR", "note": "Rent März", "urgent": true,
    "due": "2026-03-04T06:00:00+01:00", "to": {"iban": "DE12", "bank": null},
    "items": [{"sku": "A-1", "qty": 2, "price": 10, "tags": ["x"], "extra": {"vat": 0.19}}, {"sku": "b-2", "qty": 5, "price": 0.5, "tags": []}],
    "codes": [3, 5, 8], "few": [2, 1], "emails": ["a@corp.example", "B@Corp.example"], "rates": {"EUR": 1, "USD": 1.25}, "priority": "low"
}"#;

#[test]
fn fields_compare_with_constants_and_parameters() {
    check(
        PAYMENT,
        &[
            ("job.amount > 1000", True),
            ("job.amount > params.limit", True),
            ("job.amount <= 1500.5", True),
            ("job.amount == 1500.5", True),
            ("job.fee == 2.0", True),
            ("job.count != 7", False),
            ("job.currency == params.home", True),
            ("job.currency < \"F\"", True),
            ("job.urgent", True),
            ("!job.urgent", False),
            ("job.urgent == params.strict", True),
            ("job.urgent != true", False),
            ("job.to.iban == 'DE12'", True),
            ("job.payload.to['iban'] == 'DE12'", True),
            ("job.priority == 3", True),
            ("job.payload.priority == \"low\"", True),
            ("job.codes[1] == 5", True),
            ("job.items[0].extra.vat < 0.2", True),
            ("job.rates.USD > 1", True),
            ("job.rates['USD'] > 1", True),
        ],
    );
}

#[test]
fn attributes_of_the_job_are_there() {
    check(
        "{}",
        &[
            ("job.tenant == 'acme'", True),
            ("job.topic.startsWith('job.payments.')", True),
            ("job.capability == 'pay'", True),
            ("job.actor.id == 'agent-7'", True),
            ("job.actor.type == 'agent'", Error),
            ("has(job.actor.id) && !has(job.actor.type)", True),
            ("'gpu' in job.requires", True),
            ("'tpu' in job.requires", False),
            ("job.requires.exists(r, r.startsWith('n'))", True),
            ("size(job.requires) == 2", True),
            ("'claimed' in job.claimed_tags", True),
            ("job.labels.env == 'prod'", True),
            ("job.labels.region == 'x'", Error),
            ("has(job.labels.region)", False),
            ("'zone' in job.labels", True),
            ("job.labels.twice == 'a'", Error),
            ("has(job.labels.twice)", Error),
            ("job.labels.exists(key, key == 'zone')", True),
            ("job.priority >= 3 && has(job.priority)", True),
        ],
    );
}

#[test]
fn a_tag_that_cannot_be_told_is_an_error() {
    check(
        "{}",
        &[
            ("'financial' in job.risk_tags", True),
            ("'pii' in job.risk_tags", False),
            ("'unsure' in job.risk_tags", Error),
            ("'unsure' in job.risk_tags || 'financial' in job.risk_tags", True),
            ("job.risk_tags.exists(t, t == 'financial')", Error),
            ("size(job.risk_tags) == 1", Error),
        ],
    );
}

#[test]
fn what_is_missing_null_or_of_another_kind_is_an_error() {
    let payload = r#"{"amount": "12", "fee": null, "count": 1.0, "currency": 5, "urgent": "true", "to": [], "codes": [1, "2"], "due": "today", "rates": {"EUR": "x"}}"#;
    check(
        payload,
        &[
            ("job.amount > 1", Error),
            ("job.amount == 12", Error),
            ("job.fee > 1", Error),
            ("has(job.fee)", False),
            ("has(job.note)", False),
            ("job.note == 'x'", Error),
            ("job.note != 'x'", Error),
            ("job.count == 1", Error),
            ("job.currency == 'EUR'", Error),
            ("has(job.currency)", True),
            ("job.urgent", Error),
            ("job.to.iban == 'x'", Error),
            ("has(job.to.iban)", Error),
            ("has(job.items) && has(job.items)", False),
            ("job.codes.exists(c, c == 1)", True),
            ("job.codes.exists(c, c == 2)", Error),
            ("job.codes.all(c, c == 3)", False),
            ("job.codes.all(c, c < 3)", Error),
            ("1 in job.codes", True),
            ("7 in job.codes", Error),
            ("job.due < now", Error),
            ("job.rates.EUR > 1", Error),
            ("job.rates.USD > 1", Error),
            ("'EUR' in job.rates", True),
        ],
    );
    for payload in ["null", "[]", "5", "not json", r#"{"amount": 1"#] {
        check(payload, &[("job.amount > 1", Error), ("has(job.amount)", Error), ("true || job.amount > 1", True)]);
    }
}

#[test]
fn a_key_that_comes_twice_is_an_error_where_it_is_on_the_way() {
    let payload = r#"{"amount": 1, "amount": 1, "fee": 2, "to": {"iban": "x", "bank": "1", "bank": "2"}, "rates": {"A": 1, "A": 2, "B": 3}}"#;
    check(
        payload,
        &[
            ("job.amount == 1", Error),
            ("has(job.amount)", Error),
            ("job.fee == 2", True),
            ("job.to.iban == 'x'", True),
            ("job.to.bank == '1'", Error),
            ("job.rates.B == 3", True),
            ("job.rates.A == 1", Error),
            ("job.rates.exists(k, k == 'B')", Error),
            ("size(job.rates) == 2", Error),
        ],
    );
}

#[test]
fn an_error_is_absorbed_only_where_any_value_would_give_the_same() {
    check(
        "{}",
        &[
            ("false && job.amount > 1", False),
            ("job.amount > 1 && false", False),
            ("true && job.amount > 1", Error),
            ("job.amount > 1 || true", True),
            ("job.amount > 1 || false", Error),
            ("!(job.amount > 1)", Error),
            ("job.amount > 1 ? true : true", Error),
            ("has(job.amount) && job.amount > 1", False),
            ("!has(job.amount) || job.amount > 1", True),
        ],
    );
}

#[test]
fn numbers_compare_exactly() {
    let payload = r#"{"amount": 9007199254740993, "fee": 18446744073709551615, "count": -9223372036854775808}"#;
    check(
        payload,
        &[
            ("job.amount > 9007199254740992.0", True),
            ("job.amount == 9007199254740992.0", False),
            ("job.fee < 1.8446744073709552e19", True),
            ("job.count == -9223372036854775808", True),
            ("job.count < -9223372036854775807", True),
            // No float is that integer exactly.
            ("job.amount + 0 > 1", Error),
            ("job.amount * 1.5 > 1.0", Error),
            // Beyond 64 bits with a sign.
            ("job.count - 1 < 0", Error),
            ("-job.count > 0", Error),
        ],
    );
}

#[test]
fn arithmetic_is_whole_between_integers_and_in_floats_otherwise() {
    check(
        PAYMENT,
        &[
            ("job.count / 2 == 3", True),
            ("job.count % 4 == 3", True),
            ("job.count * 2 - 1 == 13", True),
            ("job.amount + job.fee == 1502.5", True),
            ("job.amount * params.rate == 2250.75", True),
            ("job.amount / 0 > 1.0", Error),
            ("job.count / (job.count - 7) > 1", Error),
            ("1e308 * job.fee * 10 > 0", Error),
            ("job.count > 5 ? job.amount > 1 : false", True),
            ("(job.urgent ? job.fee : job.amount) == 2", True),
        ],
    );
}

#[test]
fn texts_have_parts_size_and_patterns() {
    check(
        PAYMENT,
        &[
            ("job.note.startsWith('Rent')", True),
            ("job.note.endsWith('rz')", True),
            ("job.note.contains('t M')", True),
            ("job.note.matches('^Rent M.rz$')", True),
            ("job.note.matches('[0-9]')", False),
            ("size(job.note) == 9", True),
            ("job.note.size() == 9", True),
            ("job.emails[1].lowerAscii() == 'b@corp.example'", True),
            ("job.emails[1].lowerAscii().endsWith('@corp.example')", True),
            ("job.emails.all(e, e.lowerAscii().endsWith('@corp.example'))", True),
            ("job.emails.all(e, e.endsWith('@corp.example'))", False),
            ("job.emails[1].lowerAscii().contains('corp')", True),
            ("job.note.lowerAscii().matches('^rent')", True),
            ("job.currency.lowerAscii() in ['eur', 'usd']", True),
            ("job.currency in ['USD', 'EUR']", True),
            ("job.currency in params.none", False),
            ("job.currency + '/' + job.to.iban == 'EUR/DE12'", True),
            ("job.currency in [job.to.iban, 'EUR']", True),
        ],
    );
}

#[test]
fn loops_go_over_lists_maps_and_parameters() {
    check(
        PAYMENT,
        &[
            ("job.items.all(i, i.qty > 1)", True),
            ("job.items.exists(i, i.price * i.qty > 10.0)", True),
            ("job.items.exists_one(i, i.sku == 'A-1')", True),
            ("job.items.exists_one(i, i.qty > 0)", False),
            ("job.items.exists(i, i.tags.exists(t, t == 'x'))", True),
            ("job.items.exists(i, 'vat' in i.extra)", True),
            ("job.items.exists(i, i.extra.vat < 1)", True),
            ("job.items.all(i, has(i.extra))", False),
            ("params.banks.exists(b, job.to.iban.startsWith(b))", False),
            ("params.steps.exists(s, s > 2)", True),
            ("job.few.all(a, job.few.exists(b, b >= a))", True),
            ("job.rates.all(c, c.size() == 3)", True),
            ("size(job.items) == 2 && job.items.size() == 2", True),
            ("size(job.rates) == 2", True),
            ("2.5 in params.steps && job.codes[0] in [1, 3]", True),
            ("job.items.filter(i, i.qty > 2).size() == 1", True),
            ("5 in job.items.map(i, i.qty)", True),
            ("job.items.map(i, i.sku.lowerAscii()).exists(s, s == 'a-1')", True),
        ],
    );
}

#[test]
fn timestamps_and_durations_are_against_the_runners_clock() {
    check(
        PAYMENT,
        &[
            ("job.due < now", True),
            ("now - job.due < duration('7m')", True),
            ("job.due + duration('1h') > now", True),
            ("job.deadline - now == duration('1m')", True),
            ("now > timestamp('2026-03-04T05:06:07.889Z')", True),
            ("now.getHours() == 5 && now.getMinutes() == 6", True),
            ("now.getDayOfWeek() == 3", True),
            ("job.due.getFullYear() == 2026 && job.due.getMonth() == 2 && job.due.getDate() == 4", True),
            ("timestamp(job.note) < now", Error),
            ("has(job.deadline)", True),
        ],
    );
}

#[test]
fn what_is_longer_than_declared_is_an_error() {
    let note = format!(r#"{{"note": "{}", "currency": "{}"}}"#, "x".repeat(2_001), "x".repeat(65_536));
    check(&note, &[("job.note == 'x'", Error), ("job.currency == 'x'", False), ("has(job.note)", True)]);
    let codes = |count: usize| format!(r#"{{"codes": [{}]}}"#, vec!["1"; count].join(","));
    check(&codes(1_000), &[("job.codes.all(c, c == 1)", True)]);
    check(&codes(1_001), &[("job.codes.exists(c, c == 1)", Error), ("size(job.codes) > 1", Error)]);
    let keys = |count: usize| {
        let more: Vec<String> = (1..count).map(|at| format!(r#""k{at}": 1"#)).collect();
        format!(r#"{{"amount": 5, {}}}"#, more.join(","))
    };
    check(&keys(256), &[("job.amount == 5", True)]);
    check(&keys(257), &[("job.amount == 5", Error), ("has(job.amount)", Error)]);
}
