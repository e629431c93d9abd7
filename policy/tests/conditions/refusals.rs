//! What is refused when a condition loads, where, and what to do.

use crate::types;
use tidegate_policy::when::compile;

/// Text, column, part of the reason, part of the remedy.
const REFUSED: &[(&str, u32, &str, &str)] = &[
    ("", 1, "the end where a value must stand", "write a value"),
    ("job.amount >", 13, "the end where a value", "write a value"),
    ("job.amount = 5", 12, "`=` means nothing", "`==`"),
    ("job.urgent & job.urgent", 12, "`&` means nothing", "`&&`"),
    ("(job.urgent", 12, "where `)` must stand", "add `)`"),
    ("job.urgent job.urgent", 12, "after the end", "join it"),
    ("job.amuont > 5", 5, "`amuont` is not declared", "did you mean `amount`?"),
    ("jbo.amount > 5", 1, "`jbo` is not declared", "did you mean `job`?"),
    ("job.to.ibn == 'x'", 8, "`ibn` is not declared", "did you mean `iban`?"),
    ("job.tenat == 'x'", 5, "`tenat` is not declared", "did you mean `tenant`?"),
    ("job.amount > params.limt", 21, "`limt` is not declared", "did you mean `limit`?"),
    ("job.actor.name == 'x'", 11, "`name` is not declared", "correct the name"),
    ("job.items.exists(i, i.skuu == 'x')", 23, "`skuu` is not declared", "did you mean `sku`?"),
    ("job.amount > 'x'", 12, "`>` cannot compare a number with a text", "of one kind"),
    ("job.currency == 5", 14, "`==` cannot compare a text with a number", "of one kind"),
    ("job.urgent < true", 12, "`<` cannot compare a boolean", "of one kind"),
    ("job.due < '2026-01-01T00:00:00Z'", 9, "a timestamp with a text", "timestamp("),
    ("now - job.due < 60", 15, "a duration with a number", "duration("),
    ("job.codes == job.codes", 11, "a list with a list", "`in`"),
    ("job.amount == null", 15, "`null` is not part", "has(job.FIELD)"),
    ("job.amount", 5, "a condition must be true or false", "give true or false"),
    ("job.amount && true", 5, "what `&&` joins must be true or false", "give"),
    ("!job.amount", 6, "what `!` turns round", "give"),
    ("job.amount + 'x' > 1", 12, "`+` does not take a number and a text", "two numbers"),
    ("job.amount % 2 == 0", 12, "`%` takes integers", "declare"),
    ("1 / 0 == 1", 3, "divides by zero", "write the result"),
    ("9223372036854775807 + 1 > 0", 21, "overflows", "write the result"),
    ("9223372036854775808 > 0", 1, "beyond 64 bits", "smaller"),
    ("1u == 1", 1, "`1u` is not a number", "leave out the `u`"),
    ("b'x' == b'x'", 1, "bytes", "without `b`"),
    ("{'a': 1}.a == 1", 1, "`{` means nothing", "maps"),
    ("'abc", 1, "without its closing quote", "end it"),
    ("'a\\q' == 'a'", 3, "an escape", "use"),
    ("for == 1", 1, "reserved word", "another name"),
    ("job.currency.startWith('x')", 14, "`startWith` is not a function", "did you mean `startsWith`?"),
    ("length(job.note) > 1", 1, "`length` is not a function", "use one of has, size"),
    ("job.note.startsWith()", 10, "does not take 0 arguments", "TEXT.startsWith"),
    ("job.note.matches(job.currency)", 22, "a pattern must be a text written out", "between quotes"),
    ("job.note.matches('(')", 18, "unclosed group", "smaller pattern"),
    ("job.note.matches('(?=x)')", 18, "look-around", "smaller pattern"),
    ("job.amount.startsWith('x')", 5, "what `startsWith` works on must be a text", "give a text"),
    ("has(job.amount > 1)", 1, "`has` takes a field", "has(job.FIELD)"),
    ("has(job.amuont)", 9, "`amuont` is not declared", "amount"),
    ("has(job.labels)", 1, "`has` takes a field", "has(job.FIELD)"),
    ("has(params.limit)", 1, "always there", "leave out"),
    ("job.items.all(i, i.qty)", 20, "what is asked of each element must be true or false", "give"),
    ("job.items.all(job, true)", 15, "`job` is already something else", "another name"),
    ("job.items.all(1, true)", 15, "must be a name", "LIST.all"),
    ("job.amount.all(x, true)", 5, "what a loop goes over must be a list", "give"),
    ("job.codes[job.count] == 1", 15, "written out", "exists"),
    ("job.codes[1000] == 1", 11, "not from 0 to 999", "count"),
    ("job.labels[job.currency] == 'x'", 16, "a key must be a text written out", "between quotes"),
    ("job.currency.iban == 'x'", 14, "asked of a text, which has no fields", "object"),
    ("['a', 1] == ['a']", 1, "mixes texts and numbers", "only"),
    ("5 in ['a']", 3, "looks for a number in a list of string", "kind"),
    ("5 in job.amount", 3, "what stands after `in` must be a list", "give"),
    ("timestamp('soon') < now", 11, "not a timestamp", "2026-01-31"),
    ("now - job.due > duration('1 day')", 26, "not a duration", "1h30m"),
    ("now.getHours('Europe/Berlin') > 8", 5, "no time zone", "window"),
    ("job.urgent ? 1 : 'x'", 12, "gives a number or a text", "two"),
    ("'financal' in job.risk_tags", 1, "`financal` is not derived", "did you mean `financial`?"),
];

#[test]
fn every_mistake_is_refused_with_its_place_and_a_remedy() {
    for (text, column, reason, remedy) in REFUSED {
        let problem = compile(text, &types()).map(|_| ()).expect_err(text);
        assert_eq!(problem.column, *column, "{text}: {problem}");
        assert!(problem.reason.contains(reason), "{text}: {problem}");
        assert!(problem.remedy.contains(remedy), "{text}: {problem}");
    }
}

#[test]
fn columns_count_characters() {
    let problem = compile("job.note == 'Größe' && job.amuont > 1", &types()).expect_err("a name nobody declared");
    assert_eq!(problem.column, 28);
}
