//! What a caller may do: [`scope`] says which methods and [`path`]s, and which [`operation`] where a path has several; [`pack`]
//! what that means for a CRM, and [`never`] what no key may reach; [`crm_credential`] as whom the CRM is asked;
//! [`blank`] what replies must not show, and [`blanking`] how it is taken out; [`allowlist`] from which addresses; [`senders`] whose updates a bot takes, and in which [`hours`].

pub mod allowlist;
pub mod blank;
pub mod blanking;
pub mod crm_credential;
pub mod graphql;
pub mod hours;
pub mod never;
pub mod operation;
pub mod pack;
pub mod path;
pub mod rpc;
pub mod scope;
pub mod senders;
