//! Promises of [`crate::Membership`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::Poll;

use tidegate_protocol::address::TopicName;

use super::Fixture;
use super::steps::Steps;
use crate::{Change, MemberOptions, Membership, Released, SpineError};

/// The members of one group as the suite plays them.
struct Group<'a> {
    steps: &'a Steps,
    options: MemberOptions,
    members: BTreeMap<&'static str, Member>,
}

struct Member {
    membership: Box<dyn Membership>,
    owned: BTreeSet<u32>,
    /// A member that does not let go keeps these.
    kept: Vec<Released>,
    lets_go: bool,
    /// It was taken in.
    answered: bool,
}

impl<'a> Group<'a> {
    fn new(steps: &'a Steps, name: &str, topic: &TopicName) -> Self {
        let options =
            MemberOptions { group: steps.group(name), topic: topic.clone(), instance: None, session_timeout_ms: 6_000 };
        Self { steps, options, members: BTreeMap::new() }
    }

    async fn join(&mut self, name: &'static str) {
        let membership = self.steps.done("to join", self.steps.spine.join(self.options.clone())).await;
        self.members.insert(
            name,
            Member { membership, owned: BTreeSet::new(), kept: Vec::new(), lets_go: true, answered: false },
        );
    }

    /// Waits until any member has news, and takes it.
    async fn next_change(&mut self, what: &str) {
        let members = &mut self.members;
        let news = poll_fn(|cx| {
            for (name, member) in members.iter_mut() {
                if let Poll::Ready(change) = member.membership.poll_change(cx) {
                    member.take(name, change.expect("a change"));
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        });
        self.steps.wait(what, news).await;
    }

    /// Plays all members until `reached` holds for what each owns.
    async fn until(&mut self, what: &str, reached: impl Fn(&BTreeMap<&'static str, usize>, &BTreeSet<u32>) -> bool) {
        let steps = self.steps;
        let members = &mut self.members;
        let play = poll_fn(|cx| {
            loop {
                let mut changed = false;
                for (name, member) in members.iter_mut() {
                    while let Poll::Ready(change) = member.membership.poll_change(cx) {
                        changed = true;
                        member.take(name, change.expect("a change"));
                    }
                }
                let counts = members.iter().map(|(name, m)| (*name, m.owned.len())).collect();
                let union: BTreeSet<u32> = members.values().flat_map(|m| m.owned.iter().copied()).collect();
                let disjoint = members.values().map(|m| m.owned.len()).sum::<usize>() == union.len();
                if disjoint && reached(&counts, &union) {
                    return Poll::Ready(());
                }
                if !changed {
                    return Poll::Pending;
                }
            }
        });
        steps.wait(what, play).await;
    }
}

impl Member {
    fn take(&mut self, name: &str, change: Change) {
        match change {
            Change::Assigned(partitions) => {
                self.answered = true;
                for p in partitions {
                    assert!(self.owned.insert(p), "{name} was given partition {p} twice");
                }
            }
            Change::Revoked { partitions, released } => {
                for p in partitions {
                    assert!(self.owned.remove(&p), "{name} lost partition {p}, which it did not own");
                }
                if !self.lets_go {
                    self.kept.push(released);
                }
            }
            Change::Lost(partitions) => {
                for p in partitions {
                    assert!(self.owned.remove(&p), "{name} lost partition {p}, which it did not own");
                }
            }
        }
    }
}

fn all(n: u32) -> BTreeSet<u32> {
    (0..n).collect()
}

/// All partitions, each once.
pub async fn a_lone_member_owns_every_partition(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("lone", 4).await;
    let mut group = Group::new(&steps, "lone-group", &topic);
    group.join("a").await;
    group.until("all partitions", |_, union| *union == all(4)).await;
    let a = group.members.get_mut("a").expect("joined");
    a.membership.commit(&[(topic.partition(0), 0)]);
}

/// A newcomer gets an even share; the first gives up just that.
pub async fn a_second_member_takes_its_share_once_it_is_let_go(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("second", 4).await;
    let mut group = Group::new(&steps, "second-group", &topic);
    group.join("a").await;
    group.until("all partitions", |_, union| *union == all(4)).await;
    group.join("b").await;
    group.until("two each", |counts, union| *union == all(4) && counts["a"] == 2 && counts["b"] == 2).await;
    group.join("c").await;
    group.until("a share for three", |counts, union| *union == all(4) && counts.values().all(|n| *n > 0)).await;
}

/// A member whose share is nothing hears that it was taken in, and gets what another leaves behind.
pub async fn a_member_that_is_given_nothing_hears_so(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("nothing", 1).await;
    let mut group = Group::new(&steps, "nothing-group", &topic);
    group.join("a").await;
    group.until("the partition", |_, union| *union == all(1)).await;
    group.join("b").await;
    let answered = |members: &BTreeMap<&'static str, Member>| members.values().all(|m| m.answered);
    while !answered(&group.members) {
        group.next_change("an answer for both").await;
    }
    let owner = if group.members["a"].owned.is_empty() { "b" } else { "a" };
    let leaving = group.members.remove(owner).expect("joined");
    steps.wait("leaving", leaving.membership.leave()).await;
    group.until("the partition again", |_, union| *union == all(1)).await;
}

/// Leaving hands everything to those who stay.
pub async fn a_member_that_leaves_gives_everything_back(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("leaves", 3).await;
    let mut group = Group::new(&steps, "leaves-group", &topic);
    group.join("a").await;
    group.join("b").await;
    group.until("a share each", |counts, union| *union == all(3) && counts.values().all(|n| *n > 0)).await;
    let a = group.members.remove("a").expect("joined");
    steps.wait("leaving", a.membership.leave()).await;
    group.until("all partitions again", |counts, _| counts["b"] == 3).await;
    group.join("a").await;
    group.until("a share each again", |counts, union| *union == all(3) && counts.values().all(|n| *n > 0)).await;
}

/// A member dropped without a word is replaced within the deadline.
pub async fn a_member_that_vanishes_is_replaced(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("vanishes", 3).await;
    let mut group = Group::new(&steps, "vanishes-group", &topic);
    group.join("a").await;
    group.join("b").await;
    group.until("a share each", |counts, union| *union == all(3) && counts.values().all(|n| *n > 0)).await;
    drop(group.members.remove("a"));
    group.until("all partitions again", |counts, _| counts["b"] == 3).await;
}

/// `released` is waited for, but not for ever.
pub async fn a_member_that_never_lets_go_does_not_block_the_group(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("keeps", 2).await;
    let mut group = Group::new(&steps, "keeps-group", &topic);
    group.join("a").await;
    group.until("all partitions", |_, union| *union == all(2)).await;
    group.members.get_mut("a").expect("joined").lets_go = false;
    group.join("b").await;
    group.until("one each", |counts, union| *union == all(2) && counts["b"] == 1).await;
    assert_eq!(group.members["a"].kept.len(), 1, "it went without asking");
}

/// Two groups on one topic: each owns all of it.
pub async fn groups_are_independent_of_each_other(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("independent", 3).await;
    let mut one = Group::new(&steps, "independent-one", &topic);
    let mut two = Group::new(&steps, "independent-two", &topic);
    one.join("a").await;
    two.join("a").await;
    one.until("all partitions for one", |_, union| *union == all(3)).await;
    two.until("all partitions for two", |_, union| *union == all(3)).await;
}

/// A group on a topic that does not exist says so, at once or with the first change.
pub async fn joining_on_an_unknown_topic_is_an_error(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.name("owned-nowhere");
    let options = Group::new(&steps, "nowhere-group", &topic).options;
    let error = match steps.wait("to join", steps.spine.join(options)).await {
        Err(error) => error,
        Ok(mut membership) => steps.refused("ownership", poll_fn(|cx| membership.poll_change(cx))).await,
    };
    assert!(matches!(&error, SpineError::UnknownTopic { topic: t } if *t == topic), "{error:?}");
}
