//! Numbers of incarnations: who rises, who stops, and what a new life begins with.

use super::*;

fn outrun(said: u64, known: u64) -> Order {
    Order::Outrun { said, known }
}

#[test]
fn whoever_is_outrun_rises_and_whoever_was_welcomed_before_stops() {
    let of = |incarnation| Order::Welcome { incarnation, epoch: 5, heartbeat_ms: BEAT, lease_ms: LEASE };
    let leave = |incarnation| Order::Drain { incarnation, reason: String::new() };
    let elsewhere = || {
        let mut session = new(2);
        session.welcomed_elsewhere();
        session
    };
    let table: Vec<(&str, Session, Order, &str)> = vec![
        ("never welcomed, outrun", new(2), outrun(7, 9), "outrun by 9"),
        ("the answer to a Hello of another life", new(2), outrun(3, 9), "outrun by 9"),
        ("an answer of the time before it rose", new(2), outrun(5, 6), "ignored other_incarnation"),
        ("the number that another life has", new(2), outrun(7, 7), "outrun by 7"),
        ("never welcomed, and another is", new(2), of(9), "outrun by 9"),
        ("never welcomed, and another is told to leave", new(2), leave(9), "outrun by 9"),
        ("welcomed by another shard, outrun here", elsewhere(), outrun(7, 9), "outrun by 9"),
        ("welcomed by another shard, and another is here", elsewhere(), of(9), "superseded by 9"),
        ("welcomed, and told of a higher one", welcomed(2, 5), outrun(7, 9), "superseded by 9"),
        ("welcomed, and told of its own", welcomed(2, 5), outrun(7, 7), "ignored other_incarnation"),
        ("welcomed, and told of an older one", welcomed(2, 5), outrun(3, 6), "ignored other_incarnation"),
    ];
    for (name, mut session, order, expected) in table {
        assert_eq!(did(&session.order(order, Some(5), ms(1))), [expected], "{name}");
    }
}

#[test]
fn one_that_has_risen_says_hello_anew_and_still_knows_that_it_was_welcomed() {
    let mut session = welcomed(2, 5);
    let job = key(1, 5, 1);
    session.order(assignment(1, &job), Some(5), ms(1));
    let lost = session.restart(Incarnation { number: 12, lane: 3, lane_position: 40 }, ms(2));
    assert_eq!(did(&lost), ["lost jobs/0@1 (token 5.1)"]);
    assert_eq!(said(&mut session, 2), ["hello 12 lane 3@40 capacity 2"]);
    assert_eq!(did(&session.order(outrun(7, 11), Some(5), ms(3))), ["ignored other_incarnation"], "it came late");
    assert_eq!(
        did(&session.order(outrun(12, 20), Some(5), ms(3))),
        ["outrun by 20"],
        "this shard has not welcomed it since"
    );
    let higher = Order::Welcome { incarnation: 13, epoch: 5, heartbeat_ms: BEAT, lease_ms: LEASE };
    assert_eq!(did(&session.order(higher, Some(5), ms(3))), ["superseded by 13"]);
}

#[test]
fn a_new_incarnation_loses_every_lease_and_says_hello_before_anything_else() {
    let mut session = welcomed(2, 5);
    let (one, two) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &one), Some(5), ms(1));
    session.order(assignment(2, &two), Some(5), ms(1));
    session.finished(&one, done());
    let lost = session.restart(Incarnation { number: 8, lane: 3, lane_position: 99 }, ms(2));
    assert_eq!(did(&lost), ["lost jobs/0@2 (token 5.1)"]);
    assert_eq!(said(&mut session, 2), ["hello 8 lane 3@99 capacity 2"]);
    assert_eq!(did(&session.order(welcome(5), Some(5), ms(3))), ["ignored other_incarnation"], "for the old life");
    let welcome = Order::Welcome { incarnation: 8, epoch: 5, heartbeat_ms: BEAT, lease_ms: LEASE };
    assert_eq!(did(&session.order(welcome, Some(5), ms(3))), ["welcomed 5"], "the same owner again");
    assert_eq!(said(&mut session, 3), ["beat epoch 5 received 0 credit 1 []"], "the old job still occupies a slot");
    session.finished(&two, done());
    assert_eq!(said(&mut session, 4), ["beat epoch 5 received 0 credit 2 []"]);
}
