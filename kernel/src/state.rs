//! The kernel's durable state as JSON text: equal states give equal bytes.

use serde::{Deserialize, Serialize, Serializer};

use crate::approvals::Refusals;
use crate::delegation::Families;
use crate::identity::{Entry, Window};
use crate::kept::{Kept, KeptJob};
use crate::kernel::Kernel;
use crate::redriven::Redrives;
use crate::standing::Adopted;
use crate::wallet::{Shadow, ShadowEntry, WalletIn, WalletOut};
use crate::withdrawn::Withdrawals;

/// Format version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct StateOut<'a> {
    v: u32,
    adopted: Option<&'a Adopted>,
    window: Entries<'a>,
    #[serde(skip_serializing_if = "Jobs::is_empty")]
    kept: Jobs<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wallet: Option<WalletOut<'a>>,
    #[serde(skip_serializing_if = "Shadow::is_empty")]
    observed: &'a Shadow,
    #[serde(skip_serializing_if = "Refusals::is_fresh")]
    refusals: Refusals,
    #[serde(skip_serializing_if = "Withdrawals::is_empty")]
    withdrawn: &'a Withdrawals,
    #[serde(skip_serializing_if = "Families::is_empty")]
    families: &'a Families,
    #[serde(skip_serializing_if = "Redrives::is_empty")]
    redrives: &'a Redrives,
}

struct Jobs<'a>(&'a Kept);

impl Jobs<'_> {
    fn is_empty(&self) -> bool {
        self.0.iter().next().is_none()
    }
}

impl Serialize for Jobs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter())
    }
}

struct Entries<'a>(&'a Window);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.entries())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateIn {
    v: u32,
    adopted: Option<Adopted>,
    window: Vec<Entry>,
    #[serde(default)]
    kept: Vec<KeptJob>,
    #[serde(default)]
    wallet: WalletIn,
    #[serde(default)]
    observed: Vec<ShadowEntry>,
    #[serde(default)]
    refusals: Refusals,
    #[serde(default)]
    withdrawn: Withdrawals,
    #[serde(default)]
    families: Families,
    #[serde(default)]
    redrives: Redrives,
}

/// Writes it.
pub(crate) fn write(kernel: &Kernel) -> Result<String, serde_json::Error> {
    let Kernel { window, kept, wallet, shadow, refusals, withdrawn, families, redrives, .. } = kernel;
    serde_json::to_string(&StateOut {
        v: VERSION,
        adopted: kernel.policies.adopted(),
        window: Entries(window),
        kept: Jobs(kept),
        wallet: wallet.was_used().then(|| wallet.written()),
        observed: shadow,
        refusals: *refusals,
        withdrawn,
        families,
        redrives,
    })
}

/// Reads it into a kernel.
pub(crate) fn read(text: &str, into: &mut Kernel) -> Result<(), serde_json::Error> {
    let error = |problem: String| <serde_json::Error as serde::de::Error>::custom(problem);
    let state: StateIn = serde_json::from_str(text)?;
    if state.v != VERSION {
        return Err(error(format!("kernel state has version {}, this program reads version {VERSION}", state.v)));
    }
    into.window.replace(state.window).map_err(|hash| error(format!("`{hash}` in a kernel state is no hash")))?;
    into.kept.replace(state.kept);
    into.kept.adopt(state.adopted.as_ref().map_or("", |adopted| &adopted.snapshot));
    into.wallet.replace(state.wallet);
    into.shadow.replace(state.observed);
    into.policies.adopt(state.adopted);
    into.refusals = state.refusals;
    into.withdrawn = state.withdrawn;
    into.families = state.families;
    into.families.derive(&into.kept);
    into.redrives = state.redrives;
    Ok(())
}
