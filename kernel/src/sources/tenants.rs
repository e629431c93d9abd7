//! Whom a source may speak for (I9).

use std::collections::BTreeSet;

use tidegate_protocol::ids::TenantId;

/// The tenants of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// All its jobs are this tenant's. A record may name it, and no other.
    Constant(TenantId),
    /// The record names one of these.
    Allowed(BTreeSet<TenantId>),
    /// The record names its tenant and is believed: for topics that only trusted producers may write.
    Any,
}

/// Why a tenant is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TenantRefused {
    /// The record names none and the source has no constant one.
    Missing,
    /// The source may not speak for it.
    NotAllowed(TenantId),
}

impl Tenants {
    /// The tenant of a record that names `named`.
    pub(crate) fn admit(&self, named: Option<TenantId>) -> Result<TenantId, TenantRefused> {
        match (self, named) {
            (Self::Constant(constant), None) => Ok(constant.clone()),
            (Self::Constant(constant), Some(named)) if *constant == named => Ok(named),
            (Self::Allowed(allowed), Some(named)) if allowed.contains(&named) => Ok(named),
            (Self::Any, Some(named)) => Ok(named),
            (Self::Allowed(_) | Self::Any, None) => Err(TenantRefused::Missing),
            (Self::Constant(_) | Self::Allowed(_), Some(named)) => Err(TenantRefused::NotAllowed(named)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_speaks_for_its_tenants_only() {
        let acme = || TenantId::new("acme").unwrap();
        let evil = || TenantId::new("evil").unwrap();
        let constant = Tenants::Constant(acme());
        let allowed = Tenants::Allowed(BTreeSet::from([acme()]));
        assert_eq!(constant.admit(None), Ok(acme()));
        assert_eq!(constant.admit(Some(acme())), Ok(acme()));
        assert_eq!(constant.admit(Some(evil())), Err(TenantRefused::NotAllowed(evil())));
        assert_eq!(allowed.admit(None), Err(TenantRefused::Missing));
        assert_eq!(allowed.admit(Some(acme())), Ok(acme()));
        assert_eq!(allowed.admit(Some(evil())), Err(TenantRefused::NotAllowed(evil())));
        assert_eq!(Tenants::Any.admit(None), Err(TenantRefused::Missing));
        assert_eq!(Tenants::Any.admit(Some(evil())), Ok(evil()));
    }
}
