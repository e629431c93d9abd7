//! What of the language whoever runs policies can honour. Everything else is refused by name when a set is loaded, never
//! half-applied.

use crate::effect::Effect;
use crate::language::{Bundle, Rule};
use crate::problem::Problem;

/// A part of the language that needs more than an evaluator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// `decision: require_approval`: jobs are held and people asked.
    Approvals,
    /// `decision: throttle`: jobs are delayed and judged again.
    Throttling,
    /// `constraints`: workers keep to them.
    Constraints,
    /// `state`: limits are kept and spent.
    Limits,
    /// `pack_ids`: jobs know their pack.
    Packs,
    /// `delegation`: jobs present their parents' tickets.
    Delegation,
}

impl Feature {
    /// What to write where it is not supported. Nothing is ignored silently: the whole set is refused until then.
    const fn instead(self) -> &'static str {
        match self {
            Self::Packs => {
                "remove it, and match `topics` or `capabilities`: jobs know no pack before packs can be installed"
            }
            Self::Approvals | Self::Throttling | Self::Constraints | Self::Limits | Self::Delegation => {
                "remove it; nothing is ignored silently, so the whole set stays refused until then"
            }
        }
    }
}

/// A set of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported(&'static [Feature]);

impl Supported {
    /// The whole language: for tools that only judge.
    pub const EVERYTHING: Self = Self(&[
        Feature::Approvals,
        Feature::Throttling,
        Feature::Constraints,
        Feature::Limits,
        Feature::Packs,
        Feature::Delegation,
    ]);

    /// What the kernel of this version honours. A feature is added here with the change that makes it work.
    pub const BY_KERNEL: Self =
        Self(&[Feature::Approvals, Feature::Throttling, Feature::Constraints, Feature::Limits, Feature::Delegation]);

    /// Whether the feature is among them.
    pub fn has(self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// A problem for each use of what is not among them.
    pub(crate) fn check(self, bundles: &[Bundle], problems: &mut Vec<Problem>) {
        for rule in bundles.iter().flat_map(|bundle| &bundle.rules) {
            let lacking = needs(rule).into_iter().filter(|(feature, _)| !self.has(*feature));
            problems.extend(lacking.map(|(feature, what)| {
                let what = format!("{what} in rule `{}` is not supported yet by this version", rule.id);
                Problem::new(&rule.file, rule.line, what, feature.instead())
            }));
        }
    }
}

fn needs(rule: &Rule) -> Vec<(Feature, &'static str)> {
    let matches = &rule.matches;
    let packs = !matches.pack_ids.is_empty() || !matches.except.pack_ids.is_empty();
    let uses = [
        (rule.effect == Effect::RequireApproval, Feature::Approvals, "`decision: require_approval`"),
        (rule.effect == Effect::Throttle, Feature::Throttling, "`decision: throttle`"),
        (rule.constraints.is_some(), Feature::Constraints, "`constraints`"),
        (!rule.state.is_empty(), Feature::Limits, "`state`"),
        (packs, Feature::Packs, "`pack_ids`"),
        (matches.delegation.is_some(), Feature::Delegation, "`delegation`"),
    ];
    uses.into_iter().filter(|(used, ..)| *used).map(|(_, feature, what)| (feature, what)).collect()
}
