//! As whom the CRM is asked: names of the credentials that the configuration has for it. The secrets stay there.

/// Most named credentials in one configuration.
pub const MOST_CREDENTIALS: usize = 1024;

/// Number of a named credential of the CRM's, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialId(u16);

/// The names, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialNames(Vec<Box<str>>);

impl CredentialId {
    /// Its position.
    pub const fn position(self) -> usize {
        self.0 as usize
    }
}

impl CredentialNames {
    /// The names as configured; those over [`MOST_CREDENTIALS`], which the configuration refuses, have no number.
    pub const fn new(names: Vec<Box<str>>) -> Self {
        Self(names)
    }

    /// The credential of that name.
    pub fn id(&self, name: &str) -> Option<CredentialId> {
        let at = self.0.iter().position(|known| **known == *name)?;
        u16::try_from(at).ok().filter(|_| at < MOST_CREDENTIALS).map(CredentialId)
    }

    /// All names.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|name| &**name)
    }
}
